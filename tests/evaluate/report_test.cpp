// What tables say of kept answers, made by hand.
#include "evaluate/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "evaluate/html_report.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Given {
  std::string answer;
  int64_t tokens = 10;
  std::string finish = "stop";
};

// Questions 0, 1, ... of a choice of A and B, whose answer is A.
PredictionSet set_of(const std::string& task, const std::string& decoder, const std::vector<Given>& given,
                     const json& settings = json::object()) {
  PredictionSet out{{}, {task, "m", decoder, settings, task + ".tsv"}, {}};
  for (size_t i = 0; i < given.size(); ++i) {
    Prediction prediction;
    prediction.id = std::to_string(i);
    prediction.question = {
        {"index", prediction.id}, {"question", "Which?"}, {"A", "one"}, {"B", "two"}, {"answer", "A"}};
    prediction.answer = given[i].answer, prediction.finish = given[i].finish,
    prediction.digest = given[i].answer;
    prediction.tokens = given[i].tokens, prediction.nfe = 5, prediction.prefill_passes = 1;
    prediction.first_ms = 10, prediction.decode_ms = 90, prediction.total_ms = 100;
    out.predictions.push_back(prediction);
  }
  return out;
}

TEST(Report, ScoresStandUnderTheirDecoder) {
  const auto results = results_of({set_of("AI2D_TEST", "ar", {{"A"}}), set_of("AI2D_TEST", "spec", {{"A"}}),
                                   set_of("RealWorldQA", "spec", {{"B"}})});
  const std::string text = report_markdown(results);
  EXPECT_THAT(text, HasSubstr("| AI2D_TEST | accuracy | 100.0 | 100.0 |"));
  EXPECT_THAT(text, HasSubstr("| RealWorldQA | accuracy | | 0.0 |")) << text;
}

TEST(Report, IntervalsAreOfTheirPart) {
  const auto ends = [](double score, double squares, int64_t answers) {
    return interval_of({"", answers, score, squares}).value();
  };
  EXPECT_EQ(ends(0, 0, 10).first, 0);
  EXPECT_NEAR(ends(0, 0, 10).second, 0.2775, 1e-4) << "Wilson's";
  EXPECT_NEAR(ends(0.5, 0.5, 100).first, 0.4038, 1e-4);
  EXPECT_NEAR(ends(0.5, 0.3, 100).first, 0.5 - 1.96 * std::sqrt(0.05 / 99), 1e-9) << "values between 0 and 1";
  EXPECT_FALSE(interval_of({"F1", 10, 0.5}));
  EXPECT_FALSE(interval_of({"none", 0, 0}));
  EXPECT_FALSE(interval_of({"ANLS of one answer", 1, 0.667, 0.667 * 0.667}));
}

TEST(Report, QuestionsOfOneNameAndOtherContentAreOthers) {
  PredictionSet one = set_of("data", "ar", {{"A"}}, {{"questions", "1"}}), two = one;
  two.header.settings["questions"] = "2", two.header.file = "elsewhere/data.tsv";
  for (PredictionSet* set : {&one, &two})
    for (Prediction& prediction : set->predictions)
      prediction.question = {{"answer", "A"}, {"metric", "exact"}};
  const auto results = results_of({one, two});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[1].task, "data (elsewhere/data.tsv)");
}

TEST(Report, ColumnsOfOneDecoderSayWhatTheyDifferIn) {
  const auto results = results_of({set_of("AI2D_TEST", "ar", {{"A"}}, {{"max_tokens", 8}, {"seed", 1}}),
                                   set_of("AI2D_TEST", "ar", {{"A"}}, {{"max_tokens", 9}, {"seed", 1}})});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].decoders[0].label, "ar (max_tokens 8)");
  EXPECT_EQ(results[0].decoders[1].label, "ar (max_tokens 9)");
  const auto several =
      results_of({set_of("AI2D_TEST", "ar", {{"A"}}), set_of("AI2D_TEST", "ar", {{"A"}}, {{"logprobs", 20}}),
                  set_of("AI2D_TEST", "ar", {{"A"}}, {{"logprobs", 20}, {"seed", 2}})});
  std::vector<std::string> labels;
  for (const DecoderResult& decoder : several[0].decoders) labels.push_back(decoder.label);
  EXPECT_THAT(labels, testing::ElementsAre("ar (logprobs none, seed none)", "ar (logprobs 20, seed none)",
                                           "ar (logprobs 20, seed 2)"));
}

TEST(Report, ColumnsAreComparedWithArOfTheirOwnModel) {
  std::vector<PredictionSet> sets;
  for (const char* model : {"X", "Y"})
    for (const char* decoder : {"spec", "ar"}) {
      sets.push_back(set_of("AI2D_TEST", decoder, {{model}}, {{"block_size", decoder[0] == 'a' ? 1 : 8}}));
      sets.back().header.model = model;
      sets.back().predictions[0].decode_ms = model[0] == 'X' ? 90 : 45;
    }
  const auto results = results_of(sets);
  for (const DecoderResult& decoder : results[0].decoders) EXPECT_EQ(decoder.identical, 1) << decoder.label;
  EXPECT_EQ(results[0].decoders[2].label, "spec (model Y)");
  const std::string text = report_markdown(results);
  EXPECT_THAT(text, HasSubstr("| times ar's |  | 1.00 | 1.00 | 1.00 | 1.00 |")) << text;
  EXPECT_THAT(text, HasSubstr("identical to ar, or else the first, of the same run"));
}

TEST(Report, ADecoderThatAnsweredNothingYetIsAnEmptyColumn) {
  for (const char* task : {"data", "AI2D_TEST"}) {
    PredictionSet answered = set_of(task, "spec", {{"A"}});
    answered.predictions[0].question["metric"] = "exact";
    const std::string text = report_markdown(results_of({set_of(task, "ar", {}), answered}));
    EXPECT_THAT(text, HasSubstr("100.0 %")) << text;
  }
}

TEST(Report, TimeOfTokensThatWereNotCountedIsNone) {
  PredictionSet set = set_of("AI2D_TEST", "endpoint", {{"A", 101}, {"A", 0}});
  set.predictions[1].decode_ms = set.predictions[1].total_ms = 900;
  const Speed speed = results_of({set})[0].decoders[0].speed;
  EXPECT_NEAR(speed.tokens_per_s(), 100 / 0.09, 1e-6);
  EXPECT_NEAR(speed.tokens_per_s_in_all(), 101 / 0.1, 1e-6);
}

TEST(Report, LongAnswersAreTheSameQuestionsForAll) {
  const auto results = results_of({set_of("AI2D_TEST", "spec", {{"A", 150}, {"B", 20}}),
                                   set_of("AI2D_TEST", "ar", {{"A", 300}, {"B", 250}})});
  for (const DecoderResult& decoder : results[0].decoders) EXPECT_EQ(decoder.long_speed.answers, 2);
  EXPECT_THAT(report_markdown(results), HasSubstr("2 long answers"));
}

TEST(Report, RefusedAnswersAreNotAlikeAndCountNoTokens) {
  const Given refused{"", 0, "refused: too long"};
  const auto results = results_of(
      {set_of("AI2D_TEST", "ar", {{"A"}, refused}), set_of("AI2D_TEST", "spec", {{"A"}, refused})});
  const DecoderResult& spec = results[0].decoders[1];
  EXPECT_EQ(spec.compared, 1);
  EXPECT_EQ(spec.identical, 1);
  EXPECT_EQ(spec.speed.firsts, 1);
  EXPECT_EQ(spec.speed.first_ms.size(), 1u);
  EXPECT_THAT(report_markdown(results), HasSubstr("| questions that were refused |  | 1 | 1 |"));
}

TEST(Report, AnswersInOnePieceHaveNoSpeedBehindTheFirstToken) {
  PredictionSet set = set_of("AI2D_TEST", "endpoint", {{"A", 101}, {"A", 101}});
  set.predictions[0].decode_ms = 0;
  const Speed speed = results_of({set})[0].decoders[0].speed;
  EXPECT_NEAR(speed.tokens_per_s(), 100 / 0.09, 1e-6);
}

TEST(Report, QuestionsWithoutAnswersAreNoScoreAndNoFault) {
  PredictionSet set = set_of("DocVQA_TEST", "ar", {{"A"}, {"B"}});
  for (Prediction& prediction : set.predictions) prediction.question.erase("answer");
  const auto results = results_of({set, set_of("AI2D_TEST", "ar", {{"A"}})});
  EXPECT_TRUE(results[0].decoders[0].score.parts.empty());
  const std::string text = report_markdown(results);
  EXPECT_THAT(text, HasSubstr("| no answers to score by | 2 |"));
  EXPECT_THAT(text, HasSubstr("100.0 %"));
}

TEST(Report, ARowWithoutAnAnswerIsWrong) {
  for (const char* task : {"AI2D_TEST", "POPE", "ChartQA_TEST"}) {
    PredictionSet set = set_of(task, "ar", {{"A"}, {"A"}});
    set.predictions[1].question.erase("answer");
    EXPECT_LT(score_of(set, Verdicts::counted).values.at(1), 1) << task;
  }
}

TEST(Report, IsWrittenWhereTheFirstDecoderLacksAnAnswer) {
  const auto results =
      results_of({set_of("AI2D_TEST", "ar", {{"A"}}), set_of("AI2D_TEST", "spec", {{"A"}, {"A"}})});
  const std::string page =
      report_html(results, [](const TaskResult&, const std::string&) { return std::vector<std::string>(); });
  EXPECT_THAT(page, HasSubstr("AI2D_TEST"));
}

}  // namespace
}  // namespace dvlm
