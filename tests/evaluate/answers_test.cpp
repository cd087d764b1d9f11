#include "evaluate/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "engine/generator.h"
#include "evaluate/examples.h"
#include "evaluate/report.h"
#include "message_of.h"
#include "random_folder.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

Request question(size_t i) {
  constexpr DecoderKind kKinds[] = {DecoderKind::autoregressive, DecoderKind::speculative,
                                    DecoderKind::fused};
  Request request;
  request.conversation = {
      {"user", {text_part("Question number " + std::to_string(i * i * 31) + ": what is there to see?")}}};
  request.decode.kind = kKinds[i % 3];
  request.decode.block_size = 8;
  request.decode.max_tokens = 4 + static_cast<int>(i % 5) * 6;
  return request;
}

class Answers : public testing::Test {
 protected:
  const RandomFolder folder_;
  Engine engine_{{.model = folder_.path(), .load = {.precision = Precision::f32, .threads = 1}}};

  std::vector<std::vector<TokenId>> tokens(int parallel) {
    std::vector<std::vector<TokenId>> out;
    answer_all(
        engine_, 11, parallel, question,
        [&](size_t i, const Answer& answer) {
          EXPECT_EQ(i, out.size());
          out.push_back(answer.tokens);
        },
        [](size_t, const std::string& reason) { FAIL() << reason; });
    return out;
  }
};

TEST_F(Answers, ComeInOrderAndAreTheSameBesideOthers) {
  const auto alone = tokens(1);
  ASSERT_EQ(alone.size(), 11u);
  const uint64_t passes = engine_.generator().totals().passes;
  EXPECT_EQ(tokens(4), alone);
  EXPECT_LT(engine_.generator().totals().passes - passes, passes / 2) << "passes are shared";
}

TEST_F(Answers, ARequestThatCannotBeAnsweredIsRefusedAndTheOthersAreNot) {
  for (const int parallel : {1, 3}) {
    std::vector<size_t> taken, refused;
    const auto request_of = [](size_t i) {
      Request request = question(i);
      if (i == 4) request.decode.max_tokens = -1;
      return request;
    };
    answer_all(
        engine_, 6, parallel, request_of, [&](size_t i, const Answer&) { taken.push_back(i); },
        [&](size_t i, const std::string& reason) {
          refused.push_back(i);
          EXPECT_NE(reason.find("max_tokens"), std::string::npos) << reason;
        });
    EXPECT_EQ(taken, (std::vector<size_t>{0, 1, 2, 3, 5}));
    EXPECT_EQ(refused, std::vector<size_t>{4});
  }
}

class Five : public TestSet {
 public:
  std::string name() const override { return "five"; }
  std::filesystem::path file() const override { return "five.jsonl"; }
  int64_t size() const override { return 5; }
  std::string id(int64_t i) const override { return std::to_string(i); }
  TestQuestion question(int64_t i) const override {
    return {id(i),
            ::dvlm::question(static_cast<size_t>(i)).conversation,
            {{"type", i == 0 ? "where" : "what"},
             {"answer", "a hammer"},
             {"metric", i == 4 ? "boxes" : "exact"},
             {"long", i == 1 || i == 2}}};
  }
};

DecodeOptions decode(DecoderKind kind, int tokens = 12) {
  return {.kind = kind, .block_size = 8, .max_tokens = tokens};
}

// Two runs over a test file have equal digests exactly when they wrote the same.
TEST_F(Answers, DigestsTellTextsApart) {
  const std::vector<DecodeOptions> decoders = {decode(DecoderKind::autoregressive),
                                               decode(DecoderKind::speculative),
                                               decode(DecoderKind::autoregressive, 11)};
  const auto results = results_of(answer_task(engine_, Five(), decoders, {.parallel = 2}));
  ASSERT_EQ(results.size(), 1u);
  const auto& of = results[0].decoders;
  EXPECT_EQ(of[0].digest, of[1].digest);
  EXPECT_NE(of[0].digest, of[2].digest);
  EXPECT_EQ(of[1].identical, 5);
  EXPECT_EQ(of[1].compared, 5);
  EXPECT_EQ(of[2].identical, 5) << "beside itself: another length is another run";
  const auto again = results_of(answer_task(engine_, Five(), {decoders[0]}, {}));
  EXPECT_EQ(again[0].decoders[0].digest, of[0].digest);
}

// A model that refuses everything has no score, and refusals are asked again.
TEST_F(Answers, OfAModelThatRefusesAllAreNone) {
  class Long : public Five {
   public:
    int64_t size() const override { return 9; }
    TestQuestion question(int64_t i) const override {
      TestQuestion out = Five::question(i % 5);
      out.id = id(i);
      std::string& text = out.conversation[0].content[0].text;
      if (i < 7 || !mended) text = rambling;
      return out;
    }
    bool mended = false;
    std::string rambling;
  } task;
  for (int i = 0; i < 900; ++i) task.rambling += std::to_string(i) + " ";
  const TemporaryFolder folder;
  const AnswerOptions options{.output = folder.path()};
  const std::vector<DecodeOptions> decoders = {decode(DecoderKind::autoregressive)};
  EXPECT_NE(message_of([&] { answer_task(engine_, task, decoders, options); }).find("all of the first 8"),
            std::string::npos);
  task.mended = true;
  const auto results = results_of(answer_task(engine_, task, decoders, options));
  const DecoderResult& result = results[0].decoders[0];
  EXPECT_EQ(std::ranges::count_if(result.set.predictions, is_refused), 7);
  EXPECT_EQ(result.set.predictions.size(), 9u);
  const auto kept = read_all_predictions(folder.path());
  EXPECT_EQ(kept[0].predictions.size(), 9u);
  EXPECT_EQ(std::ranges::count_if(kept[0].predictions, is_refused), 7);
}

TEST(OwnQuestions, WhosePicturesAreNotThereAreNotAsked) {
  const TemporaryFolder folder;
  for (const std::string& name :
       {std::string("a.png"), std::string(300, 'A'), std::string("https://x/a.png")}) {
    write_file(folder / "test.jsonl",
               R"({"messages": [{"role": "user", "content": "<image>What?"}], "answer": "x", "images": [")" +
                   name + "\"]}\n");
    const auto task = open_examples(folder / "test.jsonl");
    EXPECT_NE(message_of([&] { task->question(0); }), "no error") << name;
  }
}

class SameIds : public Five {
 public:
  std::string id(int64_t) const override { return "x"; }
};

TEST_F(Answers, OfQuestionsThatShareAnIdAreRefused) {
  EXPECT_THROW(answer_task(engine_, SameIds(), {decode(DecoderKind::autoregressive)}, {}), Error);
}

// Whether an answer is long, and how it is compared, are matters of its line, not of what its type is called.
TEST_F(Answers, AreSummedByWhatTheirLinesSay) {
  const auto results = results_of(answer_task(engine_, Five(), {decode(DecoderKind::autoregressive)}, {}));
  const DecoderResult& result = results[0].decoders[0];
  std::map<std::string, int64_t> counts;
  for (const TaskScore::Part& part : result.score.parts) counts[part.name] = part.answers;
  EXPECT_EQ(counts, (std::map<std::string, int64_t>{
                        {"**all**", 5}, {"**all short types**", 2}, {"what", 4}, {"where", 1}}));
  EXPECT_EQ(result.long_speed.answers, 2);
  EXPECT_EQ(result.speed.answers, 5);
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> out;
  read_lines(path, [&](int, std::string_view line) { return out.emplace_back(line), true; });
  return out;
}

// Answers without their times.
nlohmann::json texts_of(const std::filesystem::path& path) {
  nlohmann::json out = nlohmann::json::array();
  for (const std::string& line : lines_of(path)) {
    nlohmann::json entry = nlohmann::json::parse(line);
    for (const char* key : {"first_ms", "decode_ms", "total_ms", "peak_memory"}) entry.erase(key);
    out.push_back(entry);
  }
  return out;
}

TEST_F(Answers, AreKeptAndNotAskedForAgain) {
  const TemporaryFolder folder;
  const std::vector<DecodeOptions> decoders = {decode(DecoderKind::autoregressive),
                                               decode(DecoderKind::speculative)};
  AnswerOptions options{.model = "random", .output = folder.path() / "whole"};
  const auto whole = answer_task(engine_, Five(), decoders, options);
  options.output = folder.path() / "parts";
  options.limit = 2;
  const auto part = answer_task(engine_, Five(), decoders, options);
  EXPECT_EQ(part[0].predictions.size(), 2u);
  // Killed while it wrote.
  std::ofstream(part[0].path, std::ios::app) << R"({"id": "2", "ans)";
  options.limit = 0;
  const auto rest = answer_task(engine_, Five(), decoders, options);
  ASSERT_EQ(rest[0].path.filename(), whole[0].path.filename());
  for (size_t d = 0; d < 2; ++d) EXPECT_EQ(texts_of(rest[d].path), texts_of(whole[d].path));
  const uint64_t passes = engine_.generator().totals().passes;
  EXPECT_EQ(answer_task(engine_, Five(), decoders, options)[1].predictions.size(), 5u);
  EXPECT_EQ(engine_.generator().totals().passes, passes) << "all are there already";
  EXPECT_EQ(read_all_predictions(options.output).size(), 2u);
  const auto longer = answer_task(engine_, Five(), {decode(DecoderKind::autoregressive, 13)}, options);
  EXPECT_NE(longer[0].path, rest[0].path) << "another setting has a file of its own";
}

TEST(Predictions, BadFilesAreRefusedByLine) {
  const TemporaryFolder folder;
  const auto problem = [&](const std::string& text) {
    write_file(folder / "a.jsonl", text);
    return message_of([&] { read_predictions(folder / "a.jsonl"); });
  };
  const std::string head = R"({"dvlm_eval": 1, "task": "t"})"
                           "\n";
  EXPECT_THAT(problem(""), testing::HasSubstr("no file of dvlm eval"));
  EXPECT_THAT(problem("{}\n"), testing::HasSubstr("line 1: it is no file of dvlm eval"));
  EXPECT_THAT(problem(head + "{}\n"), testing::HasSubstr("line 2: it has no \"id\""));
  EXPECT_THAT(problem(head + "{\"id\": \"1\", \"tokens\": -1}\n"), testing::HasSubstr("line 2"));
  EXPECT_THAT(problem(head + "{\"id\": \"1\", \"question\": {\"answer\": 5}}\n"),
              testing::HasSubstr("\"answer\" that is no text"));
  EXPECT_EQ(problem(head + "{\"id\": \"1\"}\n{\"id\""), "no error");
  EXPECT_THAT(message_of([&] { read_all_predictions(folder.path() / "none"); }), testing::HasSubstr("none"));
}

}  // namespace
}  // namespace dvlm
