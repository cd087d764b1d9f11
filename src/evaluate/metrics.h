// How an answer is compared with the expected one.
#pragma once
#include <string>
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

// F1 over sentences (split at ". ", "\n"), as multisets after normalised_answer: what share of a long answer
// is right.
double sentence_f1(const std::string& expected, const std::string& found);

// The score of an answer in [0, 1], by question type: "box" and "boxes" by box_f1, "describe", "plan" and
// "grid" by sentence_f1, others 1 for equal normalised text.
double score(const std::string& type, const std::string& expected, const std::string& found);

// Types whose answers are long: where tokens per pass are measured.
bool is_long(const std::string& type);

}  // namespace dvlm
