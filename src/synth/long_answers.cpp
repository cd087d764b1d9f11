// Boxes as JSON, descriptions and pick-and-place plans.
#include <fmt/format.h>

#include <algorithm>

#include "synth/phrases.h"

namespace dvlm {

namespace {

// Qwen2.5-VL's own layout of grounding answers, down to the tab.
std::string boxes_json(const std::vector<const Object*>& objects) {
  std::string lines;
  for (const Object* object : objects) {
    const Box& box = object->box;
    lines += fmt::format("{}\t{{\"bbox_2d\": [{}, {}, {}, {}], \"label\": \"{}\"}}",
                         lines.empty() ? "" : ",\n", box.x1, box.y1, box.x2, box.y2, object->name());
  }
  return "```json\n[\n" + lines + "\n]\n```";
}

// Numbered steps of a gripper.
class Plan {
 public:
  void step(const std::string& text) {
    text_ += fmt::format("{}{}. {}", number_ == 1 ? "" : "\n", number_, text), ++number_;
  }
  void pick(const std::string& name, int place) {
    step(fmt::format("Move the gripper above the {} {}.", name, place_phrase(place)));
    step(fmt::format("Close the gripper and lift the {}.", name));
  }
  void drop_in_box(const std::string& name) { step(fmt::format("Drop the {} into the box.", name)); }
  void put_down(const std::string& name, int place) {
    step(fmt::format("Put the {} down {}.", name, place_phrase(place)));
  }
  std::string finish() {
    step("Open the gripper and go home.");
    return text_;
  }

 private:
  std::string text_;
  int number_ = 1;
};

std::string box_all(const std::vector<const Object*>& objects) {
  Plan plan;
  for (const Object* object : objects) {
    plan.pick(object->name(), object->place);
    plan.drop_in_box(object->name());
  }
  return plan.finish();
}

Question plan_clear(const Scene& scene, Random& random) {
  std::vector<const Object*> objects;
  for (const Object& object : scene.objects) objects.push_back(&object);
  const bool by_column = random.uniform() < 0.5;
  if (by_column)
    std::ranges::stable_sort(objects, {}, [](const Object* object) { return column_of(object->place); });
  const std::string order = by_column ? "from left to right" : "from top to bottom";
  const std::string text = phrase(random,
                                  {"Plan how to clear the table {}.", "Clear the table {}. List the steps.",
                                   "How do you clear the table {}?", "Give me a plan to clear the table {}."},
                                  order);
  return {QuestionType::plan, text, box_all(objects), "plan " + order};
}

std::optional<Question> plan_category(const Scene& scene, Random& random) {
  std::vector<std::string> categories;
  for (const char* category : kCategories) {
    const auto count = std::ranges::count_if(scene.objects, [&](const Object& object) {
      return std::string_view(object.word().category) == category;
    });
    if (count >= 2 && count <= 5) categories.push_back(category);
  }
  if (categories.empty()) return std::nullopt;
  const std::string category = pick(categories, random);
  std::vector<const Object*> objects;
  for (const Object& object : scene.objects)
    if (object.word().category == category) objects.push_back(&object);
  const std::string text =
      phrase(random,
             {"Plan how to put all the {} into the box.", "Put all the {} into the box. List the steps.",
              "How do you put all the {} into the box?", "Give me a plan to pack the {}."},
             category);
  return Question{QuestionType::plan, text, box_all(objects), "plan " + category};
}

std::optional<Question> plan_move(const Scene& scene, Random& random) {
  const std::vector<const Object*> objects = unique_objects(scene);
  if (objects.empty()) return std::nullopt;
  const Object& object = *pick(objects, random);
  const std::string name = object.name();
  const int target = pick(free_places(scene), random);
  const std::string to = std::string("to the ") + kPlaceNames[static_cast<size_t>(target)];
  const std::string text = phrase(random,
                                  {"Plan how to move the {} [].", "Move the {} []. List the steps.",
                                   "How do you move the {} []?", "Give me a plan to move the {} []."},
                                  name, to);
  Plan plan;
  plan.step("Open the gripper.");
  plan.pick(name, object.place);
  plan.step(fmt::format("Carry the {} {}.", name, to));
  plan.put_down(name, target);
  return Question{QuestionType::plan, text, plan.finish(), "plan move " + name + " " + to};
}

// By way of the first free place in reading order.
std::optional<Question> plan_swap(const Scene& scene, Random& random) {
  const std::vector<const Object*> objects = unique_objects(scene);
  if (objects.size() < 2) return std::nullopt;
  const Object& first = *pick(objects, random);
  const Object& second = *pick(objects, random);
  if (&first == &second) return std::nullopt;
  const std::string a = first.name(), b = second.name();
  const int spare = free_places(scene).front();
  const std::string text =
      phrase(random,
             {"Plan how to swap the {} and the [].", "Swap the {} and the []. List the steps.",
              "How do you swap the {} and the []?", "Give me a plan to swap the {} and the []."},
             a, b);
  Plan plan;
  plan.pick(a, first.place);
  plan.put_down(a, spare);
  plan.pick(b, second.place);
  plan.put_down(b, first.place);
  plan.pick(a, spare);
  plan.put_down(a, second.place);
  return Question{QuestionType::plan, text, plan.finish(), "plan swap " + a + " " + b};
}

}  // namespace

std::optional<Question> ask_box(const Scene& scene, Random& random) {
  const std::vector<const Object*> objects = unique_objects(scene);
  if (objects.empty()) return std::nullopt;
  const Object* object = pick(objects, random);
  const std::string text =
      phrase(random,
             {"Locate the {} as JSON.", "Output the bounding box of the {} in JSON.",
              "Give me the bounding box of the {} as JSON.", "Detect the {}. Answer in JSON."},
             object->name());
  return Question{QuestionType::box, text, boxes_json({object}), "box " + object->name()};
}

std::optional<Question> ask_boxes(const Scene& scene, Random& random) {
  std::vector<const Object*> objects;
  for (const Object& object : scene.objects) objects.push_back(&object);
  const std::string text = phrase(
      random, {"Locate every object as JSON.", "Output the bounding boxes of all objects in JSON.",
               "Give me the bounding boxes of all objects as JSON.", "Detect all objects. Answer in JSON."});
  return Question{QuestionType::boxes, text, boxes_json(objects), "boxes"};
}

std::optional<Question> ask_describe(const Scene& scene, Random& random) {
  std::string answer = fmt::format("The picture shows {} with {} object{} on it.", scene.background.phrase(),
                                   scene.objects.size(), scene.objects.size() == 1 ? "" : "s");
  for (const Object& object : scene.objects) {
    answer += fmt::format(" There is {} {}", with_article(object.name()), place_phrase(object.place));
    answer += object.kind == Kind::sign ? fmt::format(", and it says {}.", object.text) : ".";
  }
  std::vector<std::string> places;
  for (const int place : free_places(scene))
    places.push_back(std::string("the ") + kPlaceNames[static_cast<size_t>(place)]);
  answer += fmt::format(" The free places are {}.", join_list(places));
  const std::string text =
      phrase(random, {"Describe the picture.", "Describe this image.", "What do you see?",
                      "Describe the scene in detail.", "What is in the picture?"});
  return Question{QuestionType::describe, text, answer, "describe"};
}

// Every place in reading order, empty ones too: the densest account of a picture, hence the best teacher of
// where things are.
std::optional<Question> ask_grid(const Scene& scene, Random& random) {
  std::string answer;
  for (int place = 0; place < kPlaces; ++place) {
    const Object* object = object_at(scene, place);
    answer += fmt::format("{}{}: {}", place == 0 ? "" : "\n", kPlaceNames[static_cast<size_t>(place)],
                          object ? with_article(object->name()) : "nothing");
  }
  const std::string text = phrase(random, {"What is in each place?", "Go through all nine places.",
                                           "List every place and what is there.", "Fill in the grid."});
  return Question{QuestionType::grid, text, answer, "grid"};
}

std::optional<Question> ask_plan(const Scene& scene, Random& random) {
  const double u = random.uniform();
  if (u < 0.25 && scene.objects.size() <= 5) return plan_clear(scene, random);
  if (u < 0.5)
    if (auto question = plan_category(scene, random)) return question;
  if (u < 0.75)
    if (auto question = plan_swap(scene, random)) return question;
  return plan_move(scene, random);
}

}  // namespace dvlm
