#include "evaluate/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "message_of.h"

namespace dvlm {
namespace {

PredictionSet answers(const std::string& decoder, const std::vector<std::string>& texts) {
  PredictionSet out;
  out.header.task = "GQA", out.header.decoder = decoder;
  for (size_t i = 0; i < texts.size(); ++i) {
    Prediction prediction;
    prediction.id = std::to_string(i), prediction.answer = texts[i];
    out.predictions.push_back(prediction);
  }
  return out;
}

TEST(Agreement, SaysWhereTextsPart) {
  const auto all = compare({answers("ar", {"yes", "", "caf\u00e9 red", "left"})},
                           {answers("mdm", {"no"}), answers("ar", {"yes", "", "caf\u00e8 red"})});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].answers, 3) << "of questions that both answered";
  EXPECT_EQ(all[0].identical, 2);
  EXPECT_DOUBLE_EQ(all[0].common, (1 + 1 + 3.0 / 9) / 3);
  ASSERT_EQ(all[0].differences.size(), 1u);
  EXPECT_EQ(all[0].differences[0].id, "2");
  EXPECT_EQ(all[0].differences[0].character, 3u) << "no half of a character";
  EXPECT_EQ(all[0].differences[0].theirs, "\u00e8 red");
  EXPECT_THAT(agreement_markdown(all), testing::HasSubstr("| GQA | ar | ar | 3 | 2 | 77.8 % |"));
}

TEST(Agreement, AnEndpointStandsForAllDecoders) {
  const std::vector<PredictionSet> endpoint = {answers("endpoint", {"a"})};
  EXPECT_EQ(compare({answers("ar", {"a"}), answers("spec", {"b"})}, endpoint).size(), 2u);
  PredictionSet other = answers("ar", {"a"});
  other.header.task = "POPE";
  EXPECT_THAT(message_of([&] { compare({other}, endpoint); }), testing::HasSubstr("in common"));
}

TokenScore distribution(const std::vector<std::pair<std::string, double>>& probabilities) {
  TokenScore out;
  for (const auto& [token, p] : probabilities) out.top.emplace_back(token, std::log(p));
  out.chosen = out.top.front();
  return out;
}

TEST(Agreement, DivergenceIsExactWhereListsAreWholeAndABoundWhereTheyAreNot) {
  const TokenScore p = distribution({{"a", 0.5}, {"b", 0.25}, {"c", 0.25}}),
                   q = distribution({{"b", 0.5}, {"a", 0.25}, {"c", 0.25}});
  const double whole = 0.5 * std::log(2) + 0.25 * std::log(0.5);
  EXPECT_NEAR(divergence(p, q), whole, 1e-12);
  EXPECT_EQ(divergence(p, p), 0);
  TokenScore shorter = q;
  shorter.top.pop_back();
  EXPECT_NEAR(divergence(p, shorter), whole, 1e-12) << "one token beside the lists";
  shorter.top.pop_back();
  EXPECT_NEAR(divergence(p, shorter), 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-12);
  EXPECT_LT(divergence(p, shorter), whole);
  EXPECT_GT(divergence(distribution({{"a", 0.5}, {"b", 0.5}}), distribution({{"a", 1}})), 1) << "but finite";
}

TEST(Agreement, ProbabilitiesAreComparedUpToTheFirstDifference) {
  PredictionSet ours = answers("ar", {"a b c"}), theirs = answers("ar", {"a d c"});
  const TokenScore same = distribution({{"a", 0.75}, {"b", 0.25}}),
                   swapped = distribution({{"b", 0.75}, {"a", 0.25}});
  ours.predictions[0].scores = {same, same, same};
  theirs.predictions[0].scores = {same, swapped, same};
  const auto all = compare({ours}, {theirs});
  EXPECT_EQ(all[0].tokens, 2);
  EXPECT_EQ(all[0].same_likeliest, 1);
  EXPECT_NEAR(all[0].largest_kl, 0.5 * std::log(3), 1e-12);
  EXPECT_NEAR(all[0].mean_kl, 0.25 * std::log(3), 1e-12);
  EXPECT_THAT(agreement_markdown(all), testing::HasSubstr("| GQA | ar | ar | 2 | 50.00 % | 0.275 | 0.549 |"));
}

TEST(TokenScores, AreWrittenAndReadAsOpenAiWritesThem) {
  const std::vector<TokenScore> scores = {distribution({{"a", 0.75}, {"b", 0.25}}), {{"x", -1.5}, {}}};
  const auto again = token_scores_from_json(to_json(std::span(scores)));
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].top, scores[0].top);
  EXPECT_EQ(again[1].chosen, scores[1].chosen);
  EXPECT_TRUE(again[1].top.empty());
  for (const char* bad : {R"({})", R"([1])", R"([{"token": 1, "logprob": 0}])", R"([{"token": "a"}])",
                          R"([{"token": "a", "logprob": 0.5}])", R"([{"token": "a", "logprob": "b"}])",
                          R"([{"token": "a", "logprob": -1, "top_logprobs": [1]}])",
                          R"([{"token": "a", "logprob": -1, "top_logprobs": 1}])"})
    EXPECT_THROW(token_scores_from_json(nlohmann::json::parse(bad)), Error) << bad;
}

}  // namespace
}  // namespace dvlm
