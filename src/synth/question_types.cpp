// The types of questions, and conversations of several.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "core/error.h"
#include "synth/phrases.h"

namespace dvlm {

namespace {

struct TypeInfo {
  std::string_view name;
  Subject subject;
  std::string_view metric;
  bool is_long;
  std::optional<Question> (*ask_scene)(const Scene& scene, Random& random);
  std::optional<Question> (*ask_paper)(const Paper& paper, Random& random);
};

// In the order of QuestionType. Metrics are those of ChartQA for charts, of DocVQA for documents.
constexpr std::array<TypeInfo, kQuestionTypes> kTypes = {
    {{"what", Subject::scene, "exact", false, ask_what, nullptr},
     {"where", Subject::scene, "exact", false, ask_where, nullptr},
     {"colour", Subject::scene, "exact", false, ask_colour, nullptr},
     {"count", Subject::scene, "exact", false, ask_count, nullptr},
     {"relation", Subject::scene, "exact", false, ask_relation, nullptr},
     {"exists", Subject::scene, "exact", false, ask_exists, nullptr},
     {"read", Subject::scene, "exact", false, ask_read, nullptr},
     {"box", Subject::scene, "boxes", false, ask_box, nullptr},
     {"boxes", Subject::scene, "boxes", true, ask_boxes, nullptr},
     {"describe", Subject::scene, "sentences", true, ask_describe, nullptr},
     {"plan", Subject::scene, "sentences", true, ask_plan, nullptr},
     {"grid", Subject::scene, "sentences", true, ask_grid, nullptr},
     {"chart_value", Subject::chart, "relaxed", false, nullptr, ask_chart_value},
     {"chart_extreme", Subject::chart, "relaxed", false, nullptr, ask_chart_extreme},
     {"chart_count", Subject::chart, "relaxed", false, nullptr, ask_chart_count},
     {"chart_sum", Subject::chart, "relaxed", false, nullptr, ask_chart_sum},
     {"chart_compare", Subject::chart, "relaxed", false, nullptr, ask_chart_compare},
     {"chart_title", Subject::chart, "relaxed", false, nullptr, ask_chart_title},
     {"chart_table", Subject::chart, "sentences", true, nullptr, ask_chart_table},
     {"chart_describe", Subject::chart, "sentences", true, nullptr, ask_chart_describe},
     {"doc_total", Subject::document, "anls", false, nullptr, ask_doc_total},
     {"doc_price", Subject::document, "anls", false, nullptr, ask_doc_price},
     {"doc_extreme", Subject::document, "anls", false, nullptr, ask_doc_extreme},
     {"doc_count", Subject::document, "anls", false, nullptr, ask_doc_count},
     {"doc_date", Subject::document, "anls", false, nullptr, ask_doc_date},
     {"doc_who", Subject::document, "anls", false, nullptr, ask_doc_who},
     {"doc_field", Subject::document, "anls", false, nullptr, ask_doc_field},
     {"doc_title", Subject::document, "anls", false, nullptr, ask_doc_title},
     {"doc_text", Subject::document, "sentences", true, nullptr, ask_doc_text},
     {"doc_json", Subject::document, "sentences", true, nullptr, ask_doc_json}}};

const TypeInfo& info(QuestionType type) {
  return kTypes[static_cast<size_t>(type)];
}

constexpr int kMaxWeight = 100;

struct GroupName {
  std::string_view name;
  Subject subject;
};
constexpr std::array<GroupName, 3> kGroupNames = {
    {{"scenes", Subject::scene}, {"charts", Subject::chart}, {"documents", Subject::document}}};

std::vector<QuestionType> types_of_name(std::string_view name) {
  std::vector<QuestionType> types;
  for (const GroupName& group : kGroupNames)
    for (int i = 0; i < kQuestionTypes && group.name == name; ++i)
      if (kTypes[static_cast<size_t>(i)].subject == group.subject)
        types.push_back(static_cast<QuestionType>(i));
  return types.empty() ? std::vector{type_from_name(name)} : types;
}

// Reading a sign takes the most examples to learn and only a third of the scenes have one.
QuestionType draw_short_type(Random& random) {
  struct Weight {
    QuestionType type;
    double share;
  };
  constexpr std::array<Weight, 8> kWeights = {{{QuestionType::what, 0.14},
                                               {QuestionType::where, 0.14},
                                               {QuestionType::colour, 0.11},
                                               {QuestionType::count, 0.14},
                                               {QuestionType::relation, 0.13},
                                               {QuestionType::exists, 0.07},
                                               {QuestionType::read, 0.18},
                                               {QuestionType::box, 0.09}}};
  double u = random.uniform();
  for (const Weight& weight : kWeights)
    if ((u -= weight.share) < 0) return weight.type;
  return QuestionType::where;
}

QuestionType draw_long_type(Random& random) {
  const double u = random.uniform();
  return u < 0.25   ? QuestionType::describe
         : u < 0.55 ? QuestionType::plan
         : u < 0.7  ? QuestionType::boxes
                    : QuestionType::grid;
}

// Both directions of a relation, where there is room for them before and behind the long answer.
std::vector<Question> draw_both_ways(const Scene& scene, int room, bool with_places, Random& random) {
  const int needed = with_places ? 4 : 2;
  if (room < needed || random.uniform() >= 0.25) return {};
  return ask_relation_both_ways(scene, with_places, random);
}

std::vector<QuestionType> about(Subject subject, const std::vector<QuestionType>& types) {
  std::vector<QuestionType> fitting;
  for (const QuestionType type : types)
    if (subject_of(type) == subject) fitting.push_back(type);
  return fitting;
}

bool contains(const std::vector<QuestionType>& types, QuestionType type) {
  return std::ranges::find(types, type) != types.end();
}

}  // namespace

std::string_view type_name(QuestionType type) {
  return info(type).name;
}

QuestionType type_from_name(std::string_view name) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<QuestionType>(i);
    names.push_back(kTypes[i].name);
  }
  fail("unknown question type '{}'; the types are {}; scenes, charts and documents are all types of theirs",
       printable(name, 40), fmt::join(names, ", "));
}

Subject subject_of(QuestionType type) {
  return info(type).subject;
}

std::string_view metric_of(QuestionType type) {
  return info(type).metric;
}

bool is_long(QuestionType type) {
  return info(type).is_long;
}

std::vector<QuestionType> types_from_names(const std::vector<std::string>& names) {
  std::vector<QuestionType> types;
  for (const std::string& name : names) {
    const size_t colon = std::min(name.find(':'), name.size());
    int weight = 1;
    if (colon < name.size()) {
      const char* end = name.data() + name.size();
      const auto [stop, error] = std::from_chars(name.data() + colon + 1, end, weight);
      if (error != std::errc() || stop != end || weight < 1 || weight > kMaxWeight)
        fail("the weight of a question type must be a whole number from 1 to {}, got '{}'", kMaxWeight,
             printable(name, 40));
    }
    const std::vector<QuestionType> of_name = types_of_name(std::string_view(name).substr(0, colon));
    for (int i = 0; i < weight; ++i) types.insert(types.end(), of_name.begin(), of_name.end());
  }
  return types;
}

std::optional<Question> ask(QuestionType type, const Scene& scene, Random& random) {
  DVLM_ASSERT(info(type).subject == Subject::scene);
  return info(type).ask_scene(scene, random);
}

std::optional<Question> ask(QuestionType type, const Paper& paper, Random& random) {
  DVLM_ASSERT(info(type).subject == (paper.is_chart() ? Subject::chart : Subject::document));
  return info(type).ask_paper(paper, random);
}

std::vector<Question> converse(const Scene& scene, int turns, Random& random,
                               const std::vector<QuestionType>& asked_types) {
  const std::vector<QuestionType> types = about(Subject::scene, asked_types);
  std::vector<Question> questions;
  std::set<std::string> keys;
  const int long_turn = static_cast<int>(random.below(turns));
  const bool with_places = types.empty() || contains(types, QuestionType::where);
  for (int tries = 0; tries < 60 * turns && static_cast<int>(questions.size()) < turns; ++tries) {
    const int turn = static_cast<int>(questions.size());
    const bool make_long = turn == long_turn;
    const QuestionType type = !types.empty() ? pick(types, random)
                              : make_long    ? draw_long_type(random)
                                             : draw_short_type(random);
    std::vector<Question> asked;
    if (type == QuestionType::relation) {
      const int room = (types.empty() && turn < long_turn ? long_turn : turns) - turn;
      asked = draw_both_ways(scene, room, with_places, random);
    }
    if (asked.empty())
      if (auto question = ask(type, scene, random)) asked.push_back(std::move(*question));
    for (Question& question : asked)
      if (keys.insert(question.key).second) questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<Question> converse(const Paper& paper, int turns, Random& random,
                               const std::vector<QuestionType>& types) {
  const std::vector<QuestionType> fitting =
      about(paper.is_chart() ? Subject::chart : Subject::document, types);
  std::vector<Question> questions;
  std::set<std::string> keys;
  for (int tries = 0; !fitting.empty() && tries < 60 * turns && static_cast<int>(questions.size()) < turns;
       ++tries) {
    auto question = ask(pick(fitting, random), paper, random);
    if (question && keys.insert(question->key).second) questions.push_back(std::move(*question));
  }
  return questions;
}

}  // namespace dvlm
