#include "decode/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/random.h"

namespace dvlm {
namespace {

const float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Argmax, TakesTheLowestIdAmongEquals) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 2, 3}), 1);
  std::vector<float> row(1000, -1);
  row[997] = row[531] = row[40] = 5;
  EXPECT_EQ(argmax(row), 40);
  row[39] = 5.0000005f;
  EXPECT_EQ(argmax(row), 39);
  EXPECT_EQ(argmax(std::vector<float>(37, 0.0f)), 0);
}

TEST(TokenChance, IsTheLogarithmOfTheSoftmax) {
  const std::vector<float> row = {1, 3, -kInf, 3, 2};
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  const TokenChance chance = token_chance(row, 4, 3);
  EXPECT_EQ(chance.token, 4);
  EXPECT_NEAR(chance.logprob, 2 - std::log(sum), 1e-6);
  ASSERT_EQ(chance.top.size(), 3u);
  EXPECT_EQ(chance.top[0].first, 1) << "the lower id first";
  EXPECT_EQ(chance.top[1].first, 3);
  EXPECT_EQ(chance.top[2].first, 4);
  EXPECT_NEAR(chance.top[0].second, 3 - std::log(sum), 1e-6);
  EXPECT_EQ(token_chance(row, 2, 0).logprob, -9999);
  EXPECT_EQ(token_chance(row, 0, 9).top.size(), 5u);
  EXPECT_NEAR(token_chance(std::vector<float>{kInf, 0, kInf}, 0, 0).logprob, std::log(0.5), 1e-6);
  EXPECT_THROW(token_chance(std::vector<float>{1, kNan}, 0, 1), Error);
}

TEST(Argmax, RefusesNanAndEmptyRowsAndTakesInfinity) {
  for (const size_t at : {0u, 17u, 39u}) {
    std::vector<float> row(40, 1);
    row[at] = kNan;
    EXPECT_THROW(argmax(row), Error);
    EXPECT_THROW(Sampler({.temperature = 1}).pick(row, 0), Error);
    EXPECT_THROW(probability(row, 1), Error);
    row[at] = kInf;
    EXPECT_EQ(argmax(row), static_cast<TokenId>(at));
    EXPECT_EQ(Sampler({.temperature = 1}).pick(row, 0), static_cast<TokenId>(at));
    EXPECT_EQ(probability(row, static_cast<TokenId>(at)), 1);
  }
  const std::vector<float> nothing(40, -kInf);
  EXPECT_THROW(argmax(nothing), Error);
  EXPECT_THROW(Sampler({.temperature = 1}).pick(nothing, 0), Error);
}

TEST(Sampler, NeverDraftsBannedIds) {
  const std::vector<float> row = {1, 9, 9, 2, 50, 8, 9};
  Sampler greedy({});
  EXPECT_EQ(greedy.pick(row, 0), 4);
  EXPECT_EQ(greedy.pick(row, 0, {4, 0}), 1);
  EXPECT_EQ(greedy.pick(row, 0, {-1, 4}), 1);
  EXPECT_EQ(greedy.pick(row, 0, {1, 4}), 2);
  EXPECT_EQ(greedy.pick(row, 0, {0, 1000}), 4);
  EXPECT_THROW(greedy.pick(row, 0, {0, 1}), Error);
  Sampler sampled({.temperature = 5});
  for (int i = 0; i < 200; ++i) {
    const TokenId token = sampled.pick(row, i, {1, 4});
    EXPECT_TRUE(token == 0 || token == 2 || token == 3);
  }
}

TEST(Sampler, DependsOnSeedPositionAndStreamOnly) {
  std::vector<float> row(200);
  for (int i = 0; i < 200; ++i) row[i] = static_cast<float>(uniform(3, 0, i));
  Sampler a({.temperature = 1, .seed = 5}), b({.temperature = 1, .seed = 5}),
      c({.temperature = 1, .seed = 6});
  std::vector<TokenId> first, second, other_seed, other_stream;
  for (int i = 0; i < 50; ++i) first.push_back(a.pick(row, i));
  for (int i = 49; i >= 0; --i) second.insert(second.begin(), b.pick(row, i));
  for (int i = 0; i < 50; ++i) other_seed.push_back(c.pick(row, i));
  for (int i = 0; i < 50; ++i) other_stream.push_back(b.choose(row, i, {}, 1).token);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other_seed);
  EXPECT_NE(first, other_stream);
}

// Pearson's chi-square of `draws` samples against the expected probabilities; ids of probability 0 must not
// appear.
double chi_square(const SamplingOptions& options, std::span<const float> row,
                  const std::vector<double>& expected) {
  constexpr int kDraws = 40000;
  std::vector<int> count(row.size());
  Sampler sampler(options);
  for (int i = 0; i < kDraws; ++i) ++count[sampler.pick(row, i)];
  double chi = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(count[i], 0) << "id " << i;
      continue;
    }
    const double e = expected[i] * kDraws;
    chi += (count[i] - e) * (count[i] - e) / e;
  }
  return chi;
}

std::vector<double> softmax(std::span<const float> row, double temperature, const std::set<size_t>& kept) {
  std::vector<double> p(row.size());
  double sum = 0;
  for (const size_t i : kept) sum += p[i] = std::exp(row[i] / temperature);
  for (double& x : p) x /= sum;
  return p;
}

TEST(Sampler, DrawsFromTheWarpedDistribution) {
  // exp gives 1, 2, 3, 4, 10: probabilities .05 .10 .15 .20 .50.
  std::vector<float> row;
  for (const double w : {1.0, 2.0, 3.0, 4.0, 10.0}) row.push_back(static_cast<float>(std::log(w)));
  const double limit = 23.5;  // chi-square of 4 degrees of freedom at p = 1e-4
  EXPECT_LT(chi_square({.temperature = 1}, row, softmax(row, 1, {0, 1, 2, 3, 4})), limit);
  EXPECT_LT(chi_square({.temperature = 2.5, .seed = 1}, row, softmax(row, 2.5, {0, 1, 2, 3, 4})), limit);
  EXPECT_LT(chi_square({.temperature = 0.5, .top_k = 3}, row, softmax(row, 0.5, {2, 3, 4})), limit);
  // .50 + .20 = .70 does not reach .72: the crossing token 2 is included.
  EXPECT_LT(chi_square({.temperature = 1, .top_p = 0.72}, row, softmax(row, 1, {2, 3, 4})), limit);
  EXPECT_LT(chi_square({.temperature = 1, .top_p = 0.68}, row, softmax(row, 1, {3, 4})), limit);
  // Top-p acts on what top-k left: of {4, 10} / 14 the first alone reaches .70.
  EXPECT_LT(chi_square({.temperature = 1, .top_k = 2, .top_p = 0.70}, row, softmax(row, 1, {4})), limit);
  EXPECT_LT(chi_square({.temperature = 1, .top_k = 2, .top_p = 0.75}, row, softmax(row, 1, {3, 4})), limit);
}

TEST(Sampler, EdgesOfTopKAndTopP) {
  const std::vector<float> row = {0, 3, 3, 1};
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Sampler({.temperature = 1, .top_k = 1}).pick(row, i), 1);
    EXPECT_EQ(Sampler({.temperature = 1, .top_p = 1e-9}).pick(row, i), 1);
    EXPECT_EQ(Sampler({.temperature = 1e-6, .top_k = 1000}).pick(std::vector<float>{0, 3, 2.9f}, i), 1);
    EXPECT_EQ(Sampler({.temperature = 1, .top_k = 7, .top_p = 1}).pick(row, i),
              Sampler({.temperature = 1}).pick(row, i));
  }
  const Choice choice = Sampler({.temperature = 1, .top_k = 2}).choose(row, 0, {}, 0);
  EXPECT_FLOAT_EQ(choice.probability, 0.5f);
}

TEST(Probability, IsSoftmax) {
  EXPECT_EQ(probability(std::vector<float>{0, 0}, 1), 0.5f);
  EXPECT_FLOAT_EQ(probability(std::vector<float>{1000, 1002}, 1), 1 / (1 + std::exp(-2.0f)));
  EXPECT_EQ(probability(std::vector<float>{-kInf, 3}, 1), 1);
  EXPECT_EQ(probability(std::vector<float>{-kInf, 3}, 0), 0);
  EXPECT_EQ(probability(std::vector<float>{kInf, 3, kInf}, 2), 0.5f);
  std::vector<float> row(151'936, -10);
  row[70'000] = 12;
  EXPECT_NEAR(probability(row, 70'000), 1 / (1 + 151'935 * std::exp(-22.0)), 1e-6);
  EXPECT_NEAR(probability(row, 3) / std::exp(-22.0), 1 / (1 + 151'935 * std::exp(-22.0)), 1e-6);
}

}  // namespace
}  // namespace dvlm
