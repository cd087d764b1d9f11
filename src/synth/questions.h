// Questions about a scene with their one canonical answer, derivable from the picture alone.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "synth/scene.h"

namespace dvlm {

// Short: what, where, colour, count, relation, exists, read. Structured: box, boxes. Long: describe, plan,
// grid.
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
  grid
};

inline constexpr int kQuestionTypes = 12;

std::string_view type_name(QuestionType type);
QuestionType type_from_name(std::string_view name);  // throws Error listing the names

struct Question {
  QuestionType type = QuestionType::what;
  std::string text;
  std::string answer;
  std::string key;  // the question without its phrasing: equal keys ask the same thing
};

// A question of the type with random subject and phrasing; none where the scene allows none (e.g. read
// without a sign). The answer depends only on the scene and what is asked, never on the phrasing.
std::optional<Question> ask(QuestionType type, const Scene& scene, Random& random);

// `turns` questions that differ, one of them long, at a random turn; fewer only when the scene has no more.
// With `types` each question is of one of them instead.
std::vector<Question> converse(const Scene& scene, int turns, Random& random,
                               const std::vector<QuestionType>& types = {});

}  // namespace dvlm
