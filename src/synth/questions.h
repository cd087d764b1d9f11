// Questions about a picture with their one canonical answer, derivable from the picture alone.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "synth/paper.h"
#include "synth/scene.h"

namespace dvlm {

// What a question is about.
enum class Subject { scene, chart, document };

// Of scenes, short: what, where, colour, count, relation, exists, read. Structured: box, boxes. Long:
// describe, plan, grid. Of charts and documents the last two are long.
enum class QuestionType {
  what,
  where,
  colour,
  count,
  relation,
  exists,
  read,
  box,
  boxes,
  describe,
  plan,
  grid,
  chart_value,
  chart_extreme,
  chart_count,
  chart_sum,
  chart_compare,
  chart_title,
  chart_table,
  chart_describe,
  doc_total,
  doc_price,
  doc_extreme,
  doc_count,
  doc_date,
  doc_who,
  doc_field,
  doc_title,
  doc_text,
  doc_json
};

inline constexpr int kSceneTypes = 12, kQuestionTypes = 30;

std::string_view type_name(QuestionType type);
QuestionType type_from_name(std::string_view name);  // throws Error listing the names
Subject subject_of(QuestionType type);

// How `dvlm eval` compares an answer of the type, and whether it counts it as long (evaluate/metrics.h).
std::string_view metric_of(QuestionType type);
bool is_long(QuestionType type);

// A list of names, each with how often its type comes relative to the others: {"box:3", "describe"} is box,
// box, box, describe. "scenes", "charts" and "documents" are all types of theirs. Throws Error.
std::vector<QuestionType> types_from_names(const std::vector<std::string>& names);

struct Question {
  QuestionType type = QuestionType::what;
  std::string text;
  std::string answer;
  std::string key;  // the question without its phrasing: equal keys ask the same thing
};

// A question of the type with random subject and phrasing; none where the scene allows none (e.g. read
// without a sign). The answer depends only on the scene and what is asked, never on the phrasing.
std::optional<Question> ask(QuestionType type, const Scene& scene, Random& random);
std::optional<Question> ask(QuestionType type, const Paper& paper, Random& random);

// The question as benchmarks ask it: with options, whose right letter is the answer then, or for a word or
// phrase. Questions that are answered by yes or no, and long ones, stay as they are.
Question as_in_benchmarks(Question question, Random& random);

// `turns` questions that differ, one of them long, at a random turn; fewer only when the scene has no more.
// With `types` each question is of one of them that is about scenes instead. Now and then a relation comes in
// both directions behind the places of both objects.
std::vector<Question> converse(const Scene& scene, int turns, Random& random,
                               const std::vector<QuestionType>& types = {});

// The same about a chart or document; of `types` those that are about other subjects are left out.
std::vector<Question> converse(const Paper& paper, int turns, Random& random,
                               const std::vector<QuestionType>& types);

}  // namespace dvlm
