#include "synth/questions.h"

#include <algorithm>
#include <set>

#include "synth/phrases.h"

namespace dvlm {

namespace {

std::string replace_all(std::string text, std::string_view mark, const std::string& value) {
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size()))
    text.replace(at, mark.size(), value);
  return text;
}

bool present(const Scene& scene, const std::string& name) {
  return std::ranges::any_of(scene.objects, [&](const Object& object) { return object.name() == name; });
}

// The name of something that is not there; for half of them, when a shape is there, that shape in another
// colour.
std::string absent_name(const Scene& scene, Random& random) {
  std::vector<Object> shapes;
  for (const Object& object : scene.objects)
    if (object.kind == Kind::shape) shapes.push_back(object);
  const bool near_miss = !shapes.empty() && random.uniform() < 0.5;
  for (;;) {
    std::string name = random_name(random);
    if (near_miss) {
      Object object = pick(shapes, random);
      object.colour = static_cast<int>(random.below(kColours.size()));
      name = object.name();
    }
    if (!present(scene, name)) return name;
  }
}

std::string where_text(const std::string& name, Random& random) {
  return phrase(random,
                {"Where is the {}?", "Where's the {}?", "Where can I find the {}?",
                 "In which part of the picture is the {}?", "Find the {}."},
                name);
}

// What can be counted: everything, a category, a noun, a coloured shape; with its number.
struct Countable {
  std::string plural;
  int64_t count;
};

std::vector<Countable> countables(const Scene& scene) {
  std::vector<Countable> all;
  const auto add = [&](const std::string& plural, auto matches) {
    all.push_back({plural, std::ranges::count_if(scene.objects, matches)});
  };
  for (const char* category : kCategories)
    add(category, [&](const Object& o) { return std::string_view(o.word().category) == category; });
  std::set<std::string> seen;
  for (const Object& object : scene.objects) {
    const Noun& word = object.word();
    if (object.kind != Kind::sign && seen.insert(word.plural).second)
      add(word.plural, [&](const Object& o) { return &o.word() == &word; });
    const std::string name = object.name();
    if (object.kind == Kind::shape && seen.insert(name).second)
      add(replace_all(name, word.name, word.plural), [&](const Object& o) { return o.name() == name; });
  }
  return all;
}

}  // namespace

std::string random_name(Random& random) {
  Object object;
  object.kind = random.uniform() < 0.4 ? Kind::shape : Kind::thing;
  const size_t nouns = object.kind == Kind::shape ? kShapes.size() : kThings.size();
  object.noun = static_cast<int>(random.below(static_cast<int64_t>(nouns)));
  object.colour = static_cast<int>(random.below(kColours.size()));
  return object.name();
}

std::string call(const Scene& scene, const Object& object, Random& random) {
  const auto same = std::ranges::count_if(scene.objects, [&](const Object& other) {
    return other.kind == object.kind && other.noun == object.noun;
  });
  const bool short_name = object.kind == Kind::shape && same == 1 && random.uniform() < 0.3;
  return short_name ? object.word().name : object.name();
}

std::optional<Question> ask_what(const Scene& scene, Random& random) {
  const std::vector<int> empty = free_places(scene);
  const bool nothing = random.uniform() < 0.12;
  const int place = nothing ? pick(empty, random) : pick(scene.objects, random).place;
  const Object* object = object_at(scene, place);
  const std::string text = phrase(
      random,
      {"What is {}?", "What do you see {}?", "Which object is {}?", "What's {}?", "Name the object {}."},
      place_phrase(place));
  return Question{QuestionType::what, text, object ? with_article(object->name()) : "nothing",
                  "what " + std::to_string(place)};
}

Question where_is(const Scene& scene, const Object& object, Random& random) {
  const std::string name = call(scene, object, random);
  return {QuestionType::where, where_text(name, random),
          "The " + name + " is " + place_phrase(object.place) + ".", "where " + object.name()};
}

std::optional<Question> ask_where(const Scene& scene, Random& random) {
  const std::vector<const Object*> objects = unique_objects(scene);
  if (objects.empty()) return std::nullopt;
  const bool absent = random.uniform() < 0.1;
  const Object& object = *pick(objects, random);
  if (!absent) return where_is(scene, object, random);
  const std::string name = absent_name(scene, random);
  return Question{QuestionType::where, where_text(name, random), "There is no " + name + ".",
                  "where " + name};
}

std::optional<Question> ask_colour(const Scene& scene, Random& random) {
  std::vector<const Object*> shapes;
  for (const Object& object : scene.objects) {
    const auto same = std::ranges::count_if(scene.objects, [&](const Object& other) {
      return other.kind == Kind::shape && other.noun == object.noun;
    });
    if (object.kind == Kind::shape && same == 1) shapes.push_back(&object);
  }
  if (shapes.empty()) return std::nullopt;
  const Object& object = *pick(shapes, random);
  const std::string text =
      phrase(random,
             {"What color is the {}?", "What colour is the {}?", "Which color is the {}?",
              "What is the color of the {}?", "Name the color of the {}."},
             object.word().name);
  return Question{QuestionType::colour, text, kColours[static_cast<size_t>(object.colour)].name,
                  std::string("colour ") + object.word().name};
}

std::optional<Question> ask_count(const Scene& scene, Random& random) {
  Countable subject = {"objects", static_cast<int64_t>(scene.objects.size())};
  const double u = random.uniform();
  if (u >= 0.3) {
    const std::vector<Countable> all = countables(scene);
    std::vector<Countable> candidates;
    const int64_t low = u < 0.65 ? 2 : u < 0.85 ? 1 : 0, high = u < 0.65 ? 9 : low;
    for (const Countable& countable : all)
      if (countable.count >= low && countable.count <= high) candidates.push_back(countable);
    subject = pick(candidates.empty() ? all : candidates, random);
    // "How many apples" without any apple: the categories alone would teach that nouns are never missing.
    if (low == 0 && random.uniform() < 0.5) {
      const Noun& noun = kThings[static_cast<size_t>(random.below(kThings.size()))];
      if (!present(scene, noun.name)) subject = {noun.plural, 0};
    }
  }
  const bool food = subject.plural == "food";
  const std::string text =
      food ? phrase(random, {"How many pieces of food are there?", "Count the pieces of food.",
                             "How many pieces of food do you see?"})
           : phrase(random,
                    {"How many {} are there?", "How many {} do you see?", "Count the {}.",
                     "How many {} are in the picture?"},
                    subject.plural);
  return Question{QuestionType::count, text, std::to_string(subject.count), "count " + subject.plural};
}

std::optional<Question> ask_exists(const Scene& scene, Random& random) {
  const bool yes = random.uniform() < 0.5;
  std::string name = yes ? pick(scene.objects, random).name() : absent_name(scene, random);
  const bool sign =
      std::ranges::any_of(scene.objects, [](const Object& object) { return object.kind == Kind::sign; });
  if (!yes && !sign && random.uniform() < 0.12) name = "sign";
  const std::string text = phrase(random,
                                  {"Is there {}?", "Do you see {}?", "Can you see {}?",
                                   "Is there {} in the picture?", "Does the picture show {}?"},
                                  with_article(name));
  return Question{QuestionType::exists, text, yes ? "yes" : "no", "exists " + name};
}

std::optional<Question> ask_read(const Scene& scene, Random& random) {
  for (const Object& object : scene.objects) {
    if (object.kind != Kind::sign) continue;
    const std::string text =
        phrase(random, {"What does the sign say?", "Read the sign.", "What is written on the sign?",
                        "What can you read on the sign?", "Which text is on the sign?"});
    return Question{QuestionType::read, text, object.text, "read"};
  }
  return std::nullopt;
}

std::string phrase(Random& random, std::initializer_list<const char*> forms, const std::string& subject,
                   const std::string& other) {
  const std::string form = *(forms.begin() + random.below(static_cast<int64_t>(forms.size())));
  return replace_all(replace_all(form, "{}", subject), "[]", other);
}

std::string place_phrase(int place) {
  const std::string name = kPlaceNames[static_cast<size_t>(place)];
  const bool side = row_of(place) == 1;
  const char* preposition = !side ? "at" : column_of(place) == 1 ? "in" : "on";
  return std::string(preposition) + " the " + name;
}

std::string with_article(const std::string& noun) {
  const bool vowel = !noun.empty() && std::string("aeiou").find(noun[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + noun;
}

std::string join_list(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i)
    text += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + items[i];
  return text;
}

std::vector<const Object*> unique_objects(const Scene& scene) {
  std::vector<const Object*> unique;
  for (const Object& object : scene.objects) {
    const auto same = std::ranges::count_if(
        scene.objects, [&](const Object& other) { return other.name() == object.name(); });
    if (same == 1) unique.push_back(&object);
  }
  return unique;
}

const Object* object_at(const Scene& scene, int place) {
  for (const Object& object : scene.objects)
    if (object.place == place) return &object;
  return nullptr;
}

std::vector<int> free_places(const Scene& scene) {
  std::vector<int> places;
  for (int place = 0; place < kPlaces; ++place)
    if (!object_at(scene, place)) places.push_back(place);
  return places;
}

}  // namespace dvlm
