#include "evaluate/report.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "engine/generator.h"
#include "random_folder.h"

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
    answer_all(engine_, 11, parallel, question, [&](size_t i, const Answer& answer) {
      EXPECT_EQ(i, out.size());
      out.push_back(answer.tokens);
    });
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

TEST_F(Answers, ARequestThatCannotBeAnsweredEndsThem) {
  for (const int parallel : {1, 3}) {
    size_t taken = 0;
    const auto request_of = [](size_t i) {
      Request request = question(i);
      if (i == 4) request.decode.max_tokens = -1;
      return request;
    };
    EXPECT_THROW(answer_all(engine_, 9, parallel, request_of, [&](size_t, const Answer&) { ++taken; }),
                 Error);
    EXPECT_EQ(taken, 4u);
  }
}

// Two runs over a test file have equal digests exactly when they wrote the same.
TEST_F(Answers, DigestsTellTextsApart) {
  std::vector<Example> examples(5);
  for (size_t i = 0; i < examples.size(); ++i)
    examples[i] = {.id = "", .type = "what", .answer = "a hammer", .conversation = question(i).conversation};
  DecodeOptions ar{.kind = DecoderKind::autoregressive, .block_size = 8, .max_tokens = 12};
  DecodeOptions spec = ar, shorter = ar;
  spec.kind = DecoderKind::speculative;
  shorter.max_tokens = 11;
  const auto results = evaluate(engine_, examples, {ar, spec, shorter}, 2);
  EXPECT_EQ(results[0].digest, results[1].digest);
  EXPECT_NE(results[0].digest, results[2].digest);
  EXPECT_EQ(results[1].total([](const std::string&) { return true; }).identical, 5);
  EXPECT_EQ(evaluate(engine_, examples, {ar})[0].digest, results[0].digest);
}

// Whether an answer is long, and how it is compared, are matters of its line, not of what its type is called.
TEST_F(Answers, AreSummedByWhatTheirLinesSay) {
  std::vector<Example> examples(4);
  for (size_t i = 0; i < examples.size(); ++i)
    examples[i] = {
        .id = "", .type = "caption", .answer = "a hammer", .conversation = question(i).conversation};
  examples[1].is_long = examples[2].is_long = true;
  examples[3].metric = Metric::boxes;
  const auto results = evaluate(engine_, examples, {question(0).decode});
  EXPECT_EQ(results[0].types.at("caption").examples, 4);
  EXPECT_EQ(results[0].short_answers.examples, 1);
  EXPECT_EQ(results[0].long_answers.examples, 2);
}

}  // namespace
}  // namespace dvlm
