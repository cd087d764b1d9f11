// Small helpers shared by the question makers.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "synth/questions.h"

namespace dvlm {

// A random phrasing with every {} replaced by `subject` and every [] by `other`.
std::string phrase(Random& random, std::initializer_list<const char*> forms, const std::string& subject = {},
                   const std::string& other = {});

template <class T>
const T& pick(const std::vector<T>& items, Random& random) {
  return items[static_cast<size_t>(random.below(static_cast<int64_t>(items.size())))];
}

// "at the top left", "on the left", "in the center".
std::string place_phrase(int place);

// "a hammer", "an apple".
std::string with_article(const std::string& noun);
std::string random_name(Random& random);  // of a thing, or of a shape with its colour

// "the apple, the key and the cup"
std::string join_list(const std::vector<std::string>& items);

// The objects that "the <name>" names without doubt.
std::vector<const Object*> unique_objects(const Scene& scene);

// Null where the place is empty.
const Object* object_at(const Scene& scene, int place);

// Places without an object, in reading order.
std::vector<int> free_places(const Scene& scene);

// How a question may call a unique object: a shape alone of its kind also without its colour.
std::string call(const Scene& scene, const Object& object, Random& random);

std::optional<Question> ask_what(const Scene& scene, Random& random);
std::optional<Question> ask_where(const Scene& scene, Random& random);
Question where_is(const Scene& scene, const Object& unique, Random& random);
std::optional<Question> ask_colour(const Scene& scene, Random& random);
std::optional<Question> ask_count(const Scene& scene, Random& random);
std::optional<Question> ask_relation(const Scene& scene, Random& random);
std::optional<Question> ask_exists(const Scene& scene, Random& random);
std::optional<Question> ask_read(const Scene& scene, Random& random);
std::optional<Question> ask_box(const Scene& scene, Random& random);
std::optional<Question> ask_boxes(const Scene& scene, Random& random);
std::optional<Question> ask_describe(const Scene& scene, Random& random);
std::optional<Question> ask_plan(const Scene& scene, Random& random);
std::optional<Question> ask_grid(const Scene& scene, Random& random);

// A yes-or-no relation in both directions; before it, `with_places`, where both objects are. Empty where the
// scene allows none.
std::vector<Question> ask_relation_both_ways(const Scene& scene, bool with_places, Random& random);

std::optional<Question> ask_chart_value(const Paper& paper, Random& random);
std::optional<Question> ask_chart_extreme(const Paper& paper, Random& random);
std::optional<Question> ask_chart_count(const Paper& paper, Random& random);
std::optional<Question> ask_chart_sum(const Paper& paper, Random& random);
std::optional<Question> ask_chart_compare(const Paper& paper, Random& random);
std::optional<Question> ask_chart_title(const Paper& paper, Random& random);
std::optional<Question> ask_chart_table(const Paper& paper, Random& random);
std::optional<Question> ask_chart_describe(const Paper& paper, Random& random);
std::optional<Question> ask_doc_total(const Paper& paper, Random& random);
std::optional<Question> ask_doc_price(const Paper& paper, Random& random);
std::optional<Question> ask_doc_extreme(const Paper& paper, Random& random);
std::optional<Question> ask_doc_count(const Paper& paper, Random& random);
std::optional<Question> ask_doc_date(const Paper& paper, Random& random);
std::optional<Question> ask_doc_who(const Paper& paper, Random& random);
std::optional<Question> ask_doc_field(const Paper& paper, Random& random);
std::optional<Question> ask_doc_title(const Paper& paper, Random& random);
std::optional<Question> ask_doc_text(const Paper& paper, Random& random);
std::optional<Question> ask_doc_json(const Paper& paper, Random& random);

}  // namespace dvlm
