#include "model/choose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "choosing.h"
#include "core/error.h"

namespace dvlm {
namespace {

const float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

using Row = std::vector<float>;

Wanted draw_at(double u, double temperature, int top_k = 0, double top_p = 1) {
  return {.choice = Choice::draw, .temperature = temperature, .top_k = top_k, .top_p = top_p, .u = u};
}

TEST(Choose, greedy_takes_the_lowest_id_among_equals) {
  EXPECT_EQ(choose(Row{1, 3, 2, 3}, {}).token, 1);
  EXPECT_EQ(choose(Row(37, 0.0f), {}).token, 0);
}

TEST(Choose, draws_the_golden_texts) {
  GoldenDraws::expect([](const Row& row, const Wanted& wanted) { return choose(row, wanted); });
}

TEST(Choose, log_probabilities_are_those_of_the_softmax) {
  const Row row = {1, 3, -kInf, 3, 2};
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  const Chosen chosen = choose(row, {.excluded = {1, 0}, .probability = true, .alternatives = 3});
  EXPECT_EQ(chosen.token, 3);
  EXPECT_NEAR(chosen.logprob, 3 - std::log(sum), 1e-6) << "what is excluded counts";
  EXPECT_NEAR(chosen.probability, std::exp(3.0) / sum, 1e-6);
  ASSERT_EQ(chosen.top.size(), 3u);
  EXPECT_EQ(chosen.top[0].first, 1) << "the lower id first";
  EXPECT_EQ(chosen.top[1].first, 3);
  EXPECT_EQ(chosen.top[2].first, 4);
  EXPECT_NEAR(chosen.top[2].second, 2 - std::log(sum), 1e-6);
  EXPECT_EQ(choose(row, {.alternatives = 9}).top.size(), 5u);
  EXPECT_EQ(choose(row, {.alternatives = 9}).top[4].second, -9999);
  EXPECT_NEAR(choose(Row{kInf, 0, kInf}, {.alternatives = 0}).logprob, std::log(0.5), 1e-6);
}

TEST(Choose, rows_without_a_token_say_why) {
  for (const Choice choice : {Choice::greedy, Choice::draw}) {
    for (const size_t at : {0u, 17u, 39u}) {
      Row row(40, 1);
      row[at] = kNan;
      EXPECT_EQ(choose(row, {.choice = choice}).fault, RowFault::nan);
      row[at] = kInf;
      EXPECT_EQ(choose(row, {.choice = choice}).token, static_cast<TokenId>(at));
    }
    EXPECT_EQ(choose(Row(40, -kInf), {.choice = choice}).fault, RowFault::empty);
  }
  EXPECT_THROW(check_valid({.fault = RowFault::nan}), Error);
  EXPECT_THROW(check_valid({.fault = RowFault::empty}), Error);
  EXPECT_NO_THROW(check_valid({}));
}

TEST(Choose, never_takes_an_id_that_is_excluded_or_not_allowed) {
  const Row row = {1, 9, 9, 2, 50, 8, 9};
  EXPECT_EQ(choose(row, {.excluded = {4, 0}}).token, 1);
  EXPECT_EQ(choose(row, {.excluded = {-1, 4}}).token, 1);
  EXPECT_EQ(choose(row, {.excluded = {1, 4}}).token, 2);
  EXPECT_EQ(choose(row, {.excluded = {0, 1000}}).token, 4);
  EXPECT_EQ(choose(row, {.excluded = {0, 1}}).fault, RowFault::empty);
  const uint64_t some = 0b0101001, none = 0;
  EXPECT_EQ(choose(row, {.allowed = {&some, 1}}).token, 5);
  EXPECT_EQ(choose(row, {.excluded = {5, 0}, .allowed = {&some, 1}}).token, 3);
  EXPECT_EQ(choose(row, {.allowed = {&none, 1}}).fault, RowFault::empty);
  for (int i = 0; i < 200; ++i) {
    Wanted wanted = draw_at(i / 200.0, 5);
    wanted.allowed = {&some, 1};
    const TokenId token = choose(row, wanted).token;
    EXPECT_TRUE(token == 0 || token == 3 || token == 5);
  }
}

// Pearson's chi-square of draws against the expected probabilities; ids of probability 0 must not appear.
double chi_square(Wanted wanted, const Row& row, const std::vector<double>& expected) {
  constexpr int kDraws = 40000;
  std::vector<int> count(row.size());
  for (uint64_t i = 0; i < kDraws; ++i) {
    wanted.u = uniform(3, 0, i);
    ++count[static_cast<size_t>(choose(row, wanted).token)];
  }
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

std::vector<double> softmax(const Row& row, double temperature, const std::set<size_t>& kept) {
  std::vector<double> p(row.size());
  double sum = 0;
  for (const size_t i : kept) sum += p[i] = std::exp(row[i] / temperature);
  for (double& x : p) x /= sum;
  return p;
}

TEST(Choose, draws_from_the_warped_distribution) {
  // exp gives 1, 2, 3, 4, 10: probabilities .05 .10 .15 .20 .50.
  Row row;
  for (const double w : {1.0, 2.0, 3.0, 4.0, 10.0}) row.push_back(static_cast<float>(std::log(w)));
  const double limit = 23.5;  // chi-square of 4 degrees of freedom at p = 1e-4
  EXPECT_LT(chi_square(draw_at(0, 1), row, softmax(row, 1, {0, 1, 2, 3, 4})), limit);
  EXPECT_LT(chi_square(draw_at(0, 2.5), row, softmax(row, 2.5, {0, 1, 2, 3, 4})), limit);
  EXPECT_LT(chi_square(draw_at(0, 0.5, 3), row, softmax(row, 0.5, {2, 3, 4})), limit);
  // .50 + .20 = .70 does not reach .72: the crossing token 2 is included.
  EXPECT_LT(chi_square(draw_at(0, 1, 0, 0.72), row, softmax(row, 1, {2, 3, 4})), limit);
  EXPECT_LT(chi_square(draw_at(0, 1, 0, 0.68), row, softmax(row, 1, {3, 4})), limit);
  // Top-p acts on what top-k left: of {4, 10} / 14 the first alone reaches .70.
  EXPECT_LT(chi_square(draw_at(0, 1, 2, 0.70), row, softmax(row, 1, {4})), limit);
  EXPECT_LT(chi_square(draw_at(0, 1, 2, 0.75), row, softmax(row, 1, {3, 4})), limit);
}

TEST(Choose, edges_of_top_k_and_top_p) {
  const Row row = {0, 3, 3, 1};
  for (const double u : {0.0, 0.3, 0.7, 0.999999}) {
    EXPECT_EQ(choose(row, draw_at(u, 1, 1)).token, 1);
    EXPECT_EQ(choose(row, draw_at(u, 1, 0, 1e-9)).token, 1);
    EXPECT_EQ(choose(Row{0, 3, 2.9f}, draw_at(u, 1e-6, 1000)).token, 1);
    EXPECT_EQ(choose(row, draw_at(u, 1, 7)).token, choose(row, draw_at(u, 1)).token);
  }
  EXPECT_FLOAT_EQ(choose(row, draw_at(0.1, 1, 2)).probability, 0.5f);
}

}  // namespace
}  // namespace dvlm
