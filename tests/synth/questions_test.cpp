#include "synth/questions.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "synth/painter.h"

namespace dvlm {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Object thing(const std::string& name, int place, Box box = {10, 20, 50, 60}) {
  Object object;
  for (size_t i = 0; i < kThings.size(); ++i)
    if (kThings[i].name == name) object.noun = static_cast<int>(i);
  object.place = place, object.box = box;
  return object;
}

Object shape(int noun, int colour, int place) {
  Object object;
  object.kind = Kind::shape;
  object.noun = noun, object.colour = colour, object.place = place, object.box = {1, 2, 3, 4};
  return object;
}

// A hammer at the top left, a red square and a blue square, two apples, a sign.
Scene workshop() {
  Scene scene;
  scene.background.pattern = Pattern::wood;
  Object sign;
  sign.kind = Kind::sign, sign.text = "STOP", sign.place = 8;
  scene.objects = {thing("hammer", 0), shape(1, 0, 2),    shape(1, 2, 4),
                   thing("apple", 3),  thing("apple", 7), sign};
  std::sort(scene.objects.begin(), scene.objects.end(),
            [](const Object& a, const Object& b) { return a.place < b.place; });
  return scene;
}

// All different questions of a type, by text.
std::map<std::string, std::string> all_questions(QuestionType type, const Scene& scene) {
  std::map<std::string, std::string> found;
  Random random(5);
  for (int i = 0; i < 4000; ++i)
    if (const auto question = ask(type, scene, random)) {
      const auto [at, fresh] = found.emplace(question->text, question->answer);
      EXPECT_EQ(at->second, question->answer) << question->text;
    }
  return found;
}

TEST(Questions, WhatAndWhereNameThePlace) {
  const auto what = all_questions(QuestionType::what, workshop());
  EXPECT_EQ(what.at("What is at the top left?"), "a hammer");
  EXPECT_EQ(what.at("What is in the center?"), "a blue square");
  EXPECT_EQ(what.at("What is on the left?"), "an apple");
  EXPECT_EQ(what.at("What is at the top?"), "nothing");
  const auto where = all_questions(QuestionType::where, workshop());
  EXPECT_EQ(where.at("Where is the hammer?"), "The hammer is at the top left.");
  EXPECT_EQ(where.at("Where is the blue square?"), "The blue square is in the center.");
  int absent = 0;
  for (const auto& [text, answer] : where) {
    if (text.find("the banana") != std::string::npos) {
      EXPECT_EQ(answer, "There is no banana.");
      ++absent;
    }
  }
  EXPECT_GT(absent, 0);
  EXPECT_FALSE(where.count("Where is the apple?")) << "there are two";
  EXPECT_FALSE(where.count("Where is the square?")) << "there are two";
}

TEST(Questions, ColourAsksOnlyForShapesAloneOfTheirKind) {
  Scene scene = workshop();
  EXPECT_TRUE(all_questions(QuestionType::colour, scene).empty());
  scene.objects[1].noun = 2;
  const auto colour = all_questions(QuestionType::colour, scene);
  EXPECT_EQ(colour.at("What color is the triangle?"), "red");
  EXPECT_EQ(colour.at("What colour is the square?"), "blue");
}

TEST(Questions, CountsEverythingKindsColoursAndCategories) {
  const auto count = all_questions(QuestionType::count, workshop());
  EXPECT_EQ(count.at("How many objects are there?"), "6");
  EXPECT_EQ(count.at("How many apples are there?"), "2");
  EXPECT_EQ(count.at("How many squares are there?"), "2");
  EXPECT_EQ(count.at("How many red squares are there?"), "1");
  EXPECT_EQ(count.at("How many tools are there?"), "1");
  EXPECT_EQ(count.at("How many toys are there?"), "0");
  EXPECT_EQ(count.at("How many bells are there?"), "0");
}

TEST(Questions, RelationsCompareDifferentRowsOrColumnsOnly) {
  const auto relation = all_questions(QuestionType::relation, workshop());
  EXPECT_EQ(relation.at("Is the hammer left of the red square?"), "yes");
  EXPECT_EQ(relation.at("Is the hammer right of the red square?"), "no");
  EXPECT_EQ(relation.at("Is the sign below the hammer?"), "yes");
  EXPECT_FALSE(relation.count("Is the hammer above the red square?")) << "both are in the top row";
  for (const auto& [text, answer] : relation) EXPECT_THAT(text, testing::Not(HasSubstr("the apple")));
}

TEST(Questions, WhichSideNeedsExactlyOneAnswer) {
  Scene scene;
  scene.objects = {thing("key", 0), thing("cup", 2), thing("bell", 8)};
  const auto relation = all_questions(QuestionType::relation, scene);
  EXPECT_EQ(relation.at("What is left of the cup?"), "a key");
  EXPECT_EQ(relation.at("What is below the key?"), "a bell");
  EXPECT_FALSE(relation.count("What is right of the key?")) << "two things are";
}

TEST(Questions, ReadsTheSignWhereThereIsOne) {
  Scene scene = workshop();
  EXPECT_EQ(all_questions(QuestionType::read, scene).at("What does the sign say?"), "STOP");
  scene.objects.pop_back();
  EXPECT_TRUE(all_questions(QuestionType::read, scene).empty());
}

TEST(Questions, BoxesAreJsonInPixels) {
  Scene scene;
  scene.objects = {thing("key", 0, {5, 6, 40, 50}), thing("cup", 2, {150, 8, 200, 55})};
  const auto box = all_questions(QuestionType::box, scene);
  EXPECT_EQ(box.at("Locate the key as JSON."),
            "```json\n[\n\t{\"bbox_2d\": [5, 6, 40, 50], \"label\": \"key\"}\n]\n```");
  std::string all = all_questions(QuestionType::boxes, scene).at("Locate every object as JSON.");
  ASSERT_THAT(all, StartsWith("```json\n"));
  const auto boxes = nlohmann::json::parse(all.substr(8, all.size() - 8 - 4));
  ASSERT_EQ(boxes.size(), 2u);
  EXPECT_EQ(boxes[1]["bbox_2d"], (std::vector{150, 8, 200, 55}));
  EXPECT_EQ(boxes[1]["label"], "cup");
}

TEST(Questions, DescriptionListsObjectsInReadingOrderAndFreePlaces) {
  EXPECT_EQ(
      all_questions(QuestionType::describe, workshop()).at("Describe the picture."),
      "The picture shows a wooden table with 6 objects on it. There is a hammer at the top left. There is a "
      "red square at the top right. There is an apple on the left. There is a blue square in the center. "
      "There is an apple at the bottom. There is a sign at the bottom right, and it says STOP. The free "
      "places "
      "are the top, the right and the bottom left.");
}

TEST(Questions, PlansAreNumberedSteps) {
  const auto plans = all_questions(QuestionType::plan, workshop());
  EXPECT_EQ(
      plans.at("Plan how to move the hammer to the right."),
      "1. Open the gripper.\n2. Move the gripper above the hammer at the top left.\n3. Close the gripper and "
      "lift the hammer.\n4. Carry the hammer to the right.\n5. Put the hammer down on the right.\n6. Open "
      "the "
      "gripper and go home.");
  EXPECT_THAT(
      plans.at("Plan how to put all the food into the box."),
      testing::AllOf(HasSubstr("1. Move the gripper above the apple on the left."),
                     HasSubstr("4. Move the gripper above the apple at the bottom."), HasSubstr("\n7. ")));
  EXPECT_THAT(plans.at("Plan how to swap the hammer and the sign."),
              testing::AllOf(HasSubstr("3. Put the hammer down at the top."), HasSubstr("\n10. ")));
}

TEST(Questions, ConversationsHaveOneLongTurnAndNoRepeats) {
  const std::set<QuestionType> long_types = {QuestionType::boxes, QuestionType::describe, QuestionType::plan,
                                             QuestionType::grid};
  Painter painter;
  std::map<size_t, int> long_turns;
  std::set<QuestionType> types;
  for (int64_t i = 0; i < 500; ++i) {
    const Scene scene = make_scene(painter, 7, Split::train, i);
    Random random(9, static_cast<uint64_t>(i));
    const auto questions = converse(scene, 7, random);
    ASSERT_EQ(questions.size(), 7u);
    std::set<std::string> keys;
    int long_answers = 0;
    for (size_t turn = 0; turn < questions.size(); ++turn) {
      keys.insert(questions[turn].key);
      types.insert(questions[turn].type);
      if (long_types.contains(questions[turn].type)) ++long_answers, ++long_turns[turn];
    }
    EXPECT_EQ(keys.size(), questions.size());
    EXPECT_EQ(long_answers, 1);
  }
  EXPECT_EQ(long_turns.size(), 7u) << "the long answer may come at any turn";
  EXPECT_EQ(types.size(), static_cast<size_t>(kSceneTypes));
}

TEST(Questions, AnswersAreBalanced) {
  Painter painter;
  std::map<QuestionType, std::map<std::string, int>> answers;
  std::map<QuestionType, int> totals;
  for (int64_t i = 0; i < 3000; ++i) {
    const Scene scene = make_scene(painter, 7, Split::train, i);
    Random random(9, static_cast<uint64_t>(i));
    for (const QuestionType type : {QuestionType::exists, QuestionType::relation, QuestionType::colour,
                                    QuestionType::count, QuestionType::what})
      if (const auto question = ask(type, scene, random)) ++answers[type][question->answer], ++totals[type];
  }
  auto& exists = answers[QuestionType::exists];
  EXPECT_NEAR(exists["yes"], totals[QuestionType::exists] / 2.0, totals[QuestionType::exists] * 0.04);
  auto& relation = answers[QuestionType::relation];
  EXPECT_NEAR(relation["yes"], relation["no"], totals[QuestionType::relation] * 0.06);
  for (const auto& [answer, count] : answers[QuestionType::colour])
    EXPECT_NEAR(count, totals[QuestionType::colour] / 6.0, totals[QuestionType::colour] * 0.05) << answer;
  for (const auto& [answer, count] : answers[QuestionType::count])
    EXPECT_LT(count, totals[QuestionType::count] * 0.5) << answer;
  for (const auto& [answer, count] : answers[QuestionType::what])
    EXPECT_LT(count, totals[QuestionType::what] * 0.2) << answer;
}

// Neighbours are the near misses: more than half of the yes-or-no relations are about them.
TEST(Questions, RelationsAreBalancedNearAndFar) {
  std::map<bool, std::map<std::string, int>> answers;  // of neighbours, of others
  const Scene scene = workshop();
  const auto find = [&](const std::string& name) {
    return *std::ranges::find(scene.objects, name, [](const Object& object) { return object.name(); });
  };
  Random random(11);
  int total = 0;
  for (int i = 0; i < 8000; ++i) {
    const auto question = ask(QuestionType::relation, scene, random);
    if (question->answer != "yes" && question->answer != "no") continue;
    const std::string key = question->key.substr(9);  // "relation hammer left of red square"
    for (const std::string words : {" left of ", " right of ", " above ", " below "}) {
      const size_t at = key.find(words);
      if (at == std::string::npos) continue;
      const Object a = find(key.substr(0, at)), b = find(key.substr(at + words.size()));
      const bool vertical = words == " above " || words == " below ";
      const int distance =
          vertical ? row_of(a.place) - row_of(b.place) : column_of(a.place) - column_of(b.place);
      EXPECT_EQ(question->answer == "yes",
                distance * (words == " left of " || words == " above " ? -1 : 1) > 0);
      ++answers[std::abs(distance) == 1][question->answer], ++total;
    }
  }
  EXPECT_GT(total, 4000);
  for (const bool near : {false, true})
    EXPECT_NEAR(answers[near]["yes"], answers[near]["no"], total * 0.04) << near;
  EXPECT_GT(answers[true]["yes"] + answers[true]["no"], total * 0.55);
}

TEST(Questions, SomeConversationsAskARelationBothWaysBehindBothPlaces) {
  Painter painter;
  int both_ways = 0, behind_places = 0;
  for (int64_t i = 0; i < 500; ++i) {
    const Scene scene = make_scene(painter, 7, Split::train, i);
    Random random(9, static_cast<uint64_t>(i));
    const auto questions = converse(scene, 7, random);
    for (size_t turn = 0; turn + 1 < questions.size(); ++turn) {
      const Question &first = questions[turn], &second = questions[turn + 1];
      if (first.type != QuestionType::relation || second.type != QuestionType::relation) continue;
      for (const std::string words : {" left of ", " right of ", " above ", " below "}) {
        const size_t at = first.key.find(words);
        if (at == std::string::npos) continue;
        const std::string a = first.key.substr(9, at - 9), b = first.key.substr(at + words.size());
        if (second.key.substr(9) != b + words + a) continue;
        ++both_ways;
        EXPECT_NE(first.answer, second.answer) << first.text << ' ' << second.text;
        behind_places +=
            turn >= 2 && questions[turn - 2].key == "where " + a && questions[turn - 1].key == "where " + b;
      }
    }
  }
  EXPECT_GT(both_ways, 25);
  EXPECT_GT(behind_places, both_ways / 3) << "not where a place was asked before";
}

TEST(Questions, TypesHaveWeightsAndGroups) {
  using enum QuestionType;
  EXPECT_THAT(types_from_names({"box:3", "describe"}), testing::ElementsAre(box, box, box, describe));
  EXPECT_EQ(types_from_names({"scenes"}).size(), static_cast<size_t>(kSceneTypes));
  EXPECT_EQ(types_from_names({"scenes", "charts", "documents"}).size(), static_cast<size_t>(kQuestionTypes));
  EXPECT_EQ(types_from_names({"charts:2"}).size(), 16u);
  EXPECT_TRUE(types_from_names({}).empty());
  for (const std::string bad : {"box:", "box:0", "box:101", "box:1.5", "box:x", "boxen", ":2", ""})
    EXPECT_THROW(types_from_names({bad}), Error) << bad;
}

TEST(Questions, UnknownTypeNameIsRefusedWithTheNames) {
  EXPECT_EQ(type_from_name("where"), QuestionType::where);
  try {
    type_from_name("whence");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("whence"), HasSubstr("describe")));
  }
}

// The right letter stands before the answer that the question has otherwise.
TEST(Questions, OfBenchmarksHaveFourOptionsOrAskForAWord) {
  const Scene scene = workshop();
  Random random(3);
  std::map<char, int> letters;
  for (int i = 0; i < kSceneTypes; ++i) {
    const auto type = static_cast<QuestionType>(i);
    for (int turn = 0; turn < 200; ++turn) {
      const std::optional<Question> plain = ask(type, scene, random);
      if (!plain) continue;
      const Question asked = as_in_benchmarks(*plain, random);
      if (asked.text == plain->text) {
        EXPECT_EQ(asked.answer, plain->answer);
        EXPECT_TRUE(is_long(type) || plain->answer == "yes" || plain->answer == "no" ||
                    type == QuestionType::box || type == QuestionType::boxes)
            << asked.text;
      } else if (asked.answer == plain->answer) {
        EXPECT_EQ(asked.text, plain->text + "\nAnswer the question using a single word or phrase.");
        EXPECT_NE(type, QuestionType::where);
      } else {
        ASSERT_EQ(asked.answer.size(), 1u);
        ++letters[asked.answer[0]];
        EXPECT_THAT(asked.text, StartsWith("Question: " + plain->text + "\nOptions:\nA. "));
        EXPECT_THAT(asked.text, HasSubstr("\n" + asked.answer + ". " + plain->answer + "\n"));
        std::set<std::string> options;
        for (char letter = 'A'; letter <= 'D'; ++letter) {
          const size_t at = asked.text.find(std::string("\n") + letter + ". ") + 4;
          options.insert(asked.text.substr(at, asked.text.find('\n', at) - at));
        }
        EXPECT_EQ(options.size(), 4u) << asked.text;
        for (const std::string& option : options)
          EXPECT_TRUE(type != QuestionType::where || option.starts_with("The ") || option == plain->answer)
              << option;
      }
    }
  }
  for (char letter = 'A'; letter <= 'D'; ++letter) EXPECT_GT(letters[letter], 80) << letter;
}

}  // namespace
}  // namespace dvlm
