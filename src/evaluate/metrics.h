// How an answer is compared with the expected one.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace dvlm {

// Lower case, outer white space and one final full stop removed.
std::string normalised_answer(const std::string& text);

struct LabelledBox {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  std::string label;
};

// Area of the intersection over the area of the union, 0 when either is empty.
double intersection_over_union(const LabelledBox& a, const LabelledBox& b);

// F1 of boxes matched one to one with equal labels and IoU >= 0.5, best IoU first.
double box_f1(const std::vector<LabelledBox>& expected, const std::vector<LabelledBox>& found);

// F1 over sentences (split at "\n" and at ". ", but not behind a number alone, as in "1. Move"), as multisets
// after normalised_answer: what share of a long answer is right. Of lines of JSON, fences and lone brackets
// do not count, nor a comma at the end.
double sentence_f1(const std::string& expected, const std::string& found);

// What a test line names under "metric": how its answer is compared.
enum class Metric {
  exact,      // 1 for equal texts after normalised_answer
  boxes,      // box_f1 of Qwen2.5-VL's grounding JSON; of other texts as `exact`
  sentences,  // sentence_f1
  relaxed,    // relaxed_score (vqa.h)
  anls        // anls_score (vqa.h)
};

Metric metric_from_name(std::string_view name);  // throws Error listing the names
std::string_view name_of(Metric metric);

// The score of an answer, in [0, 1].
double score(Metric metric, const std::string& expected, const std::string& found);

}  // namespace dvlm
