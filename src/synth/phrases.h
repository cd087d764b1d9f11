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

// "the apple, the key and the cup"
std::string join_list(const std::vector<std::string>& items);

// The objects that "the <name>" names without doubt.
std::vector<const Object*> unique_objects(const Scene& scene);

// Null where the place is empty.
const Object* object_at(const Scene& scene, int place);

// Places without an object, in reading order.
std::vector<int> free_places(const Scene& scene);

std::optional<Question> ask_box(const Scene& scene, Random& random);
std::optional<Question> ask_boxes(const Scene& scene, Random& random);
std::optional<Question> ask_describe(const Scene& scene, Random& random);
std::optional<Question> ask_plan(const Scene& scene, Random& random);
std::optional<Question> ask_grid(const Scene& scene, Random& random);

}  // namespace dvlm
