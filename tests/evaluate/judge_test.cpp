// A judge reads what the rules do not; its verdicts are kept and are not asked for twice.
#include "evaluate/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "evaluate/report.h"
#include "message_of.h"
#include "scripted_server.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

const json kRow = {
    {"index", "3"}, {"question", "Which is a tool?"}, {"A", "hammer"}, {"B", "apple"}, {"answer", "A"}};

std::string reply(const std::string& text) {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" +
         json{{"choices", {{{"message", {{"content", text}}}, {"finish_reason", "stop"}}}}}.dump();
}

Prediction prediction(const std::string& id, const std::string& answer) {
  Prediction out;
  out.id = id, out.question = kRow, out.answer = answer;
  return out;
}

// The first names its option, the others do not.
const std::vector<std::string> kAnswers = {"A", "the one that drives nails", "something to eat", "who knows"};

PredictionSet kept(const std::filesystem::path& folder) {
  const PredictionHeader header{"AI2D_TEST", "m", "ar", json::object()};
  PredictionWriter writer(folder, header);
  PredictionSet set = writer.take_held();
  for (size_t i = 0; i < kAnswers.size(); ++i) {
    set.predictions.push_back(prediction(std::to_string(i), kAnswers[i]));
    writer.append(set.predictions.back());
  }
  return set;
}

TEST(Judge, IsAskedOnceAboutWhatTheRulesDoNotRead) {
  const TemporaryFolder folder;
  std::vector<PredictionSet> sets = {kept(folder.path())};
  EXPECT_THAT(score_of(sets[0], Verdicts::counted).undecided, ElementsAre(1, 2, 3));
  ScriptedServer server({reply("A"), reply("The answer means B."), reply("it is unclear to me")});
  const EndpointOptions judge{.url = server.url(), .model = "large", .timeout = 5, .tries = 1};
  judge_answers(sets, judge, 1);
  EXPECT_EQ(server.requests().size(), 3u);
  EXPECT_THAT(server.requests()[0], HasSubstr("the one that drives nails"));
  EXPECT_THAT(server.requests()[0], HasSubstr("A. hammer"));

  for (PredictionSet& set : std::vector{sets[0], read_predictions(sets[0].path)}) {
    const TaskScore score = score_of(set, Verdicts::counted);
    EXPECT_THAT(score.understood, ElementsAre("A", "A", "B", ""));
    EXPECT_THAT(score.values, ElementsAre(1, 1, 0, 0));
    EXPECT_EQ(score.judged, 2);
    EXPECT_THAT(score.undecided, ElementsAre(3));
    std::vector<PredictionSet> again = {std::move(set)};
    judge_answers(again, judge, 4);
  }
  EXPECT_EQ(server.requests().size(), 3u) << "what it has seen it is not asked again";
  std::vector<PredictionSet> other = {read_predictions(sets[0].path)};
  judge_answers(other, {.url = server.url(), .model = "larger", .timeout = 5, .tries = 1}, 2);
  EXPECT_EQ(server.requests().size(), 6u);
  EXPECT_EQ(read_predictions(sets[0].path).predictions[1].judge, "larger") << "the last verdict counts";
}

TEST(Judge, OneThatIsGoneEndsTheRunAndKeepsWhatItSaid) {
  const TemporaryFolder folder;
  std::vector<PredictionSet> sets = {kept(folder.path())};
  ScriptedServer server({reply("B"), "nonsense"});
  EXPECT_THAT(message_of([&] {
                judge_answers(sets, {.url = server.url(), .model = "large", .timeout = 5, .tries = 1}, 1);
              }),
              HasSubstr("the last of 1 tries"));
  const PredictionSet set = read_predictions(sets[0].path);
  EXPECT_EQ(set.predictions[1].verdict, "B");
  EXPECT_EQ(set.predictions[2].judge, "");
}

TEST(Judge, SaysLettersOrYesAndNo) {
  EXPECT_EQ(verdict_of("AI2D_TEST", kRow, "B."), "B");
  EXPECT_EQ(verdict_of("AI2D_TEST", kRow, "hammer"), "A");
  EXPECT_EQ(verdict_of("AI2D_TEST", kRow, "Z"), "Z");
  EXPECT_EQ(verdict_of("AI2D_TEST", kRow, "A or B"), "");
  EXPECT_EQ(verdict_of("POPE", kRow, "Yes"), "Yes");
  EXPECT_EQ(verdict_of("POPE", kRow, "No."), "No");
  EXPECT_EQ(verdict_of("POPE", kRow, "Unknown"), "Unknown");
  EXPECT_EQ(verdict_of("POPE", kRow, "yes and no"), "");
  EXPECT_THAT(judge_prompt("POPE", kRow, "I see one."), HasSubstr("Yes, No, or Unknown"));
  EXPECT_THAT(judge_prompt("MMMU_DEV_VAL", {{"question", "How many?"}, {"answer", "12"}}, "a dozen"),
              testing::AllOf(HasSubstr("A. 12"), HasSubstr("B. Other Answers")));
}

TEST(Judge, VerdictsOfAnswersThatAreNotThereAreRefused) {
  const TemporaryFolder folder;
  const PredictionSet set = kept(folder.path());
  Prediction stranger = prediction("9", "x");
  stranger.verdict = "A", stranger.judge = "large";
  append_verdict(set.path, stranger);
  EXPECT_THAT(message_of([&] { read_predictions(set.path); }),
              HasSubstr("line 6: it is the verdict of an answer"));
}

}  // namespace
}  // namespace dvlm
