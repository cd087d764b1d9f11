// What lies left of, right of, above and below what.
#include <array>

#include "synth/phrases.h"

namespace dvlm {

namespace {

struct Direction {
  const char* words;
  bool vertical;
  int sign;  // -1: smaller coordinate
};

constexpr std::array<Direction, 4> kDirections = {
    {{"left of", false, -1}, {"right of", false, 1}, {"above", true, -1}, {"below", true, 1}}};

// Positive: a lies in the direction from b. Zero: the same row or column, about which nothing is asked.
int side(const Object& a, const Object& b, const Direction& direction) {
  const int difference =
      direction.vertical ? row_of(a.place) - row_of(b.place) : column_of(a.place) - column_of(b.place);
  return difference * direction.sign;
}

std::optional<Question> ask_which_side(const Scene& scene, const std::vector<const Object*>& objects,
                                       Random& random) {
  struct Candidate {
    const Object* reference;
    const Direction* direction;
    const Object* found;
  };
  std::vector<Candidate> candidates;
  for (const Object* reference : objects) {
    for (const Direction& direction : kDirections) {
      std::vector<const Object*> found;
      for (const Object& object : scene.objects)
        if (side(object, *reference, direction) > 0) found.push_back(&object);
      if (found.size() == 1) candidates.push_back({reference, &direction, found[0]});
    }
  }
  if (candidates.empty()) return std::nullopt;
  const Candidate& chosen = pick(candidates, random);
  const std::string name = call(scene, *chosen.reference, random);
  const std::string text = phrase(
      random,
      {"What is [] the {}?", "Which object is [] the {}?", "What's [] the {}?", "What do you see [] the {}?"},
      name, chosen.direction->words);
  return Question{QuestionType::relation, text, with_article(chosen.found->name()),
                  std::string("relation ") + chosen.direction->words + " " + chosen.reference->name()};
}

// "a lies in the direction from b" is true.
struct Relation {
  const Object *a, *b;
  const Direction* direction;
};

// Neighbouring columns or rows are asked about as often as all distances together: they are the near misses.
std::optional<Relation> draw_relation(const Scene& scene, Random& random) {
  const std::vector<const Object*> objects = unique_objects(scene);
  std::vector<Relation> all, near;
  for (const Object* a : objects) {
    for (const Object* b : objects) {
      for (const Direction& direction : kDirections) {
        const int distance = side(*a, *b, direction);
        if (distance > 0) all.push_back({a, b, &direction});
        if (distance == 1) near.push_back(all.back());
      }
    }
  }
  if (all.empty()) return std::nullopt;
  return pick(near.empty() || random.uniform() < 0.5 ? all : near, random);
}

Question is_it(const Scene& scene, const Object& a, const Object& b, const Direction& direction,
               Random& random) {
  const std::string relation = std::string(direction.words) + " the " + call(scene, b, random);
  const std::string text = phrase(
      random,
      {"Is the {} []?", "Can you see the {} []?", "Would you say the {} is []?", "Yes or no: is the {} []?"},
      call(scene, a, random), relation);
  return {QuestionType::relation, text, side(a, b, direction) > 0 ? "yes" : "no",
          "relation " + a.name() + " " + direction.words + " " + b.name()};
}

}  // namespace

std::optional<Question> ask_relation(const Scene& scene, Random& random) {
  if (random.uniform() < 0.4)
    if (auto question = ask_which_side(scene, unique_objects(scene), random)) return question;
  const auto relation = draw_relation(scene, random);
  if (!relation) return std::nullopt;
  const auto& [a, b, direction] = *relation;
  return random.uniform() < 0.5 ? is_it(scene, *a, *b, *direction, random)
                                : is_it(scene, *b, *a, *direction, random);
}

std::vector<Question> ask_relation_both_ways(const Scene& scene, bool with_places, Random& random) {
  const auto relation = draw_relation(scene, random);
  if (!relation) return {};
  auto [a, b, direction] = *relation;
  if (random.uniform() < 0.5) std::swap(a, b);
  std::vector<Question> questions;
  if (with_places) questions = {where_is(scene, *a, random), where_is(scene, *b, random)};
  questions.push_back(is_it(scene, *a, *b, *direction, random));
  questions.push_back(is_it(scene, *b, *a, *direction, random));
  return questions;
}

}  // namespace dvlm
