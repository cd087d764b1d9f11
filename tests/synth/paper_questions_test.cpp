#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "synth/questions.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Paper apples_per_day() {
  Paper chart;
  chart.title = "Apples per day", chart.noun = "day";
  chart.entries = {{Role::point, "Mon", "12", 12},
                   {Role::point, "Tue", "30", 30},
                   {Role::point, "Wed", "7", 7},
                   {Role::point, "Thu", "14", 14}};
  return chart;
}

Paper food_receipt() {
  Paper receipt;
  receipt.kind = PaperKind::receipt, receipt.title = "FOOD SHOP";
  receipt.entries = {{Role::date, "Date", "14 May"},      {Role::person, "Clerk", "Anna"},
                     {Role::item, "apple", "1.50", 150},  {Role::item, "lemon", "0.75", 75},
                     {Role::item, "banana", "2.25", 225}, {Role::total, "Total", "4.50", 450}};
  return receipt;
}

Paper room_card() {
  Paper form;
  form.kind = PaperKind::form, form.title = "Room card";
  form.entries = {{Role::person, "Name", "Ben"}, {Role::field, "Room", "47"}, {Role::field, "Color", "red"}};
  return form;
}

Paper open_notice() {
  Paper notice;
  notice.kind = PaperKind::notice, notice.title = "OPEN";
  notice.entries = {
      {Role::field, "Open", "9 to 17"}, {Role::date, "Until", "3 Jun"}, {Role::person, "Ask", "Eva"}};
  return notice;
}

// All different questions of a type, by text.
std::map<std::string, std::string> all_questions(QuestionType type, const Paper& paper) {
  std::map<std::string, std::string> found;
  Random random(5);
  for (int i = 0; i < 2000; ++i)
    if (const auto question = ask(type, paper, random)) {
      const auto [at, fresh] = found.emplace(question->text, question->answer);
      EXPECT_EQ(at->second, question->answer) << question->text;
      EXPECT_EQ(question->type, type);
    }
  return found;
}

json fenced(const std::string& answer) {
  EXPECT_TRUE(answer.starts_with("```json\n") && answer.ends_with("\n```")) << answer;
  return json::parse(answer.substr(8, answer.size() - 8 - 4));
}

TEST(ChartQuestions, ValuesAndExtremes) {
  const auto value = all_questions(QuestionType::chart_value, apples_per_day());
  EXPECT_EQ(value.at("What is the value of Tue?"), "30");
  EXPECT_EQ(value.at("How many are there for Wed?"), "7");
  const auto extreme = all_questions(QuestionType::chart_extreme, apples_per_day());
  EXPECT_EQ(extreme.at("Which day has the highest value?"), "Tue");
  EXPECT_EQ(extreme.at("Which day is the lowest?"), "Wed");
  EXPECT_EQ(extreme.at("What is the lowest value?"), "7");
  const auto count = all_questions(QuestionType::chart_count, apples_per_day());
  EXPECT_EQ(count.at("How many bars are there?"), "4");
  Paper line = apples_per_day();
  line.kind = PaperKind::line;
  EXPECT_EQ(all_questions(QuestionType::chart_count, line).at("Count the points."), "4");
  EXPECT_EQ(all_questions(QuestionType::chart_title, line).at("Read the title."), "Apples per day");
}

TEST(ChartQuestions, SumsDifferencesAndComparisons) {
  const auto sum = all_questions(QuestionType::chart_sum, apples_per_day());
  EXPECT_EQ(sum.at("What is the sum of Mon and Tue?"), "42");
  EXPECT_EQ(sum.at("What is the difference between Wed and Tue?"), "23");
  EXPECT_FALSE(sum.contains("What is the sum of Mon and Mon?"));
  const auto compare = all_questions(QuestionType::chart_compare, apples_per_day());
  EXPECT_EQ(compare.at("Is Mon above Thu?"), "no");
  EXPECT_EQ(compare.at("Is Mon below Thu?"), "yes");
  EXPECT_EQ(compare.at("Is the value of Tue above that of Wed?"), "yes");
  EXPECT_FALSE(compare.contains("Is Mon above Mon?"));
}

// Yes and no come equally often, also about the two nearest values, which half of the questions are about.
TEST(ChartQuestions, ComparisonsAreBalanced) {
  int yes = 0, near = 0, near_yes = 0;
  Random random(3);
  constexpr int kQuestions = 4000;
  for (int i = 0; i < kQuestions; ++i) {
    const auto question = ask(QuestionType::chart_compare, apples_per_day(), random);
    const bool rivals =
        question->key.find("Mon") != std::string::npos && question->key.find("Thu") != std::string::npos;
    yes += question->answer == "yes", near += rivals, near_yes += rivals && question->answer == "yes";
  }
  EXPECT_NEAR(yes, kQuestions / 2.0, kQuestions * 0.03);
  EXPECT_NEAR(near, kQuestions * (0.5 + 0.5 / 6), kQuestions * 0.03);
  EXPECT_NEAR(near_yes, near / 2.0, kQuestions * 0.03);
}

TEST(ChartQuestions, LongAnswersTellEveryValue) {
  const json table =
      fenced(all_questions(QuestionType::chart_table, apples_per_day()).at("Read the chart as JSON."));
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[2], (json{{"label", "Wed"}, {"value", 7}}));
  EXPECT_EQ(all_questions(QuestionType::chart_describe, apples_per_day()).at("Describe the chart."),
            "The bar chart shows \"Apples per day\" with 4 bars. The value of Mon is 12. The value of Tue is "
            "30. The value of Wed is 7. The value of Thu is 14. The highest is Tue and the lowest is Wed.");
}

TEST(DocumentQuestions, AboutAReceipt) {
  const Paper receipt = food_receipt();
  EXPECT_EQ(all_questions(QuestionType::doc_total, receipt).at("What is the total?"), "4.50");
  EXPECT_EQ(all_questions(QuestionType::doc_price, receipt).at("How much is the lemon?"), "0.75");
  const auto extreme = all_questions(QuestionType::doc_extreme, receipt);
  EXPECT_EQ(extreme.at("Which item has the highest price?"), "banana");
  EXPECT_EQ(extreme.at("Which item has the lowest price?"), "lemon");
  EXPECT_EQ(all_questions(QuestionType::doc_count, receipt).at("How many items are there?"), "3");
  EXPECT_EQ(all_questions(QuestionType::doc_date, receipt).at("What is the date?"), "14 May");
  EXPECT_EQ(all_questions(QuestionType::doc_who, receipt).at("Who is the clerk?"), "Anna");
  EXPECT_EQ(all_questions(QuestionType::doc_title, receipt).at("Read the first line."), "FOOD SHOP");
  EXPECT_TRUE(all_questions(QuestionType::doc_field, receipt).empty());
  EXPECT_EQ(all_questions(QuestionType::doc_text, receipt).at("Read the receipt."),
            "FOOD SHOP\nDate 14 May\nClerk Anna\napple 1.50\nlemon 0.75\nbanana 2.25\nTotal 4.50");
  const json read = fenced(all_questions(QuestionType::doc_json, receipt).at("Read the receipt as JSON."));
  EXPECT_EQ(read, json::parse(R"({"title": "FOOD SHOP", "Date": "14 May", "Clerk": "Anna", "items": [
      {"name": "apple", "price": 1.50}, {"name": "lemon", "price": 0.75}, {"name": "banana", "price": 2.25}],
      "Total": 4.50})"));
}

TEST(DocumentQuestions, TwoItemsOfOnePriceHaveNoHighest) {
  Paper receipt = food_receipt();
  receipt.entries[2].number = 225;
  for (const auto& [text, answer] : all_questions(QuestionType::doc_extreme, receipt)) {
    EXPECT_THAT(text, HasSubstr("lowest"));
    EXPECT_EQ(answer, "lemon");
  }
}

TEST(DocumentQuestions, AboutAFormAndANotice) {
  const auto field = all_questions(QuestionType::doc_field, room_card());
  EXPECT_EQ(field.at("What is written in the field Room?"), "47");
  EXPECT_EQ(field.at("What does the form say next to Name?"), "Ben");
  EXPECT_EQ(all_questions(QuestionType::doc_who, room_card()).at("Which name is on the form?"), "Ben");
  EXPECT_EQ(all_questions(QuestionType::doc_count, room_card()).at("How many fields are there?"), "3");
  EXPECT_EQ(all_questions(QuestionType::doc_text, room_card()).at("Read the form."),
            "Room card\nName: Ben\nRoom: 47\nColor: red");
  EXPECT_EQ(fenced(all_questions(QuestionType::doc_json, room_card()).at("Read the form as JSON.")),
            json::parse(R"({"title": "Room card", "Name": "Ben", "Room": 47, "Color": "red"})"));
  EXPECT_TRUE(all_questions(QuestionType::doc_date, room_card()).empty());
  EXPECT_TRUE(all_questions(QuestionType::doc_total, room_card()).empty());
  const Paper notice = open_notice();
  EXPECT_EQ(all_questions(QuestionType::doc_field, notice).at("What is written next to Open?"), "9 to 17");
  EXPECT_EQ(all_questions(QuestionType::doc_date, notice).at("Which date is on the notice?"), "3 Jun");
  EXPECT_EQ(all_questions(QuestionType::doc_who, notice).at("Who should you ask?"), "Eva");
  EXPECT_EQ(all_questions(QuestionType::doc_text, notice).at("Read the notice."),
            "OPEN\nOpen 9 to 17\nUntil 3 Jun\nAsk Eva");
}

// What is asked about drawn papers follows from what they say, whatever they are.
TEST(PaperQuestions, AnswersFollowFromWhatIsDrawn) {
  for (int64_t i = 0; i < 400; ++i) {
    const Paper chart = make_paper(Family::charts, 7, Split::train, i);
    Random random(9, static_cast<uint64_t>(i));
    std::map<std::string, int> values;
    for (const PaperEntry& entry : chart.entries) values[entry.name] = entry.number;
    for (const auto& [name, value] : values)
      for (const auto& [other, less] : values) {
        if (name == other) continue;
        std::string key = "chart compare ";
        key.append(name).append(" above ").append(other);
        for (int tries = 0; tries < 20; ++tries) {
          const auto question = ask(QuestionType::chart_compare, chart, random);
          if (question->key == key) {
            EXPECT_EQ(question->answer, value > less ? "yes" : "no") << key;
          }
        }
      }
    const auto sum = ask(QuestionType::chart_sum, chart, random);
    std::set<int> possible;
    for (const auto& [name, value] : values)
      for (const auto& [other, less] : values) {
        if (name == other || sum->text.find(name) == std::string::npos ||
            sum->text.find(other) == std::string::npos)
          continue;
        const bool difference = sum->key.starts_with("chart difference");
        possible.insert(difference ? std::abs(value - less) : value + less);
      }
    EXPECT_TRUE(possible.contains(std::stoi(sum->answer))) << sum->text;
    const auto value = ask(QuestionType::chart_value, chart, random);
    const std::string name = value->key.substr(std::string("chart value ").size());
    EXPECT_THAT(value->text, HasSubstr(name));
    EXPECT_EQ(value->answer, std::to_string(values.at(name)));
    const json table = fenced(ask(QuestionType::chart_table, chart, random)->answer);
    for (const json& row : table) EXPECT_EQ(row["value"], values.at(row["label"]));
    EXPECT_EQ(table.size(), values.size());
  }
}

TEST(PaperQuestions, ConversationsAreAboutOnePictureAndNeverRepeat) {
  std::set<QuestionType> seen;
  const auto types = types_from_names({"charts", "documents", "where"});
  for (const Family family : {Family::charts, Family::documents}) {
    const Subject subject = family == Family::charts ? Subject::chart : Subject::document;
    for (int64_t i = 0; i < 200; ++i) {
      Random random(9, static_cast<uint64_t>(i));
      const auto questions = converse(make_paper(family, 7, Split::train, i), 6, random, types);
      EXPECT_GE(questions.size(), 5u);
      std::set<std::string> keys;
      for (const Question& question : questions) {
        keys.insert(question.key), seen.insert(question.type);
        EXPECT_EQ(subject_of(question.type), subject);
      }
      EXPECT_EQ(keys.size(), questions.size());
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kQuestionTypes - kSceneTypes));
}

}  // namespace
}  // namespace dvlm
