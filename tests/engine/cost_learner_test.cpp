#include "engine/cost_learner.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dvlm {
namespace {

constexpr WeightMemory kAlike{1000, 0, DraftPrecision::same}, kCheaper{1000, 300, DraftPrecision::int4};

TEST(GuessedCosts, are_bounds_that_a_first_pass_corrects) {
  // 240 ms for the weights, 14 ms for each row of a prompt.
  PassCosts costs = guess_costs(kCheaper, 32, {8, 312}, {256, 3800});
  EXPECT_EQ(costs.exact.of(8), 312);
  EXPECT_GT(costs.exact.of(1), 200);
  EXPECT_LT(costs.exact.of(1), 240);
  EXPECT_EQ(costs.exact.most(), widest_exact(32));
  EXPECT_NEAR(costs.exact.of(32), 32 * 14, 5) << "rows cost no less than in a prompt";
  EXPECT_LT(costs.draft.of(8), 100) << "drafts read less";
  costs.exact.learn(32, 800);
  EXPECT_NEAR(costs.exact.of(32), 800, 1);
  EXPECT_GE(costs.exact.of(96), 800);
  EXPECT_TRUE(guess_costs(kAlike, 32, {8, 312}, {}).draft.points.empty());
}

TEST(GuessedCosts, are_finite_and_rise_whatever_was_seen) {
  for (const SeenPass narrow : {SeenPass{1, 1e-9}, SeenPass{8, 300}, SeenPass{500, 1e6}})
    for (const SeenPass prompt : {SeenPass{}, SeenPass{1, 1}, SeenPass{4, 1e9}, SeenPass{1024, 10}})
      for (const int largest : {1, 2, 32, 256}) {
        const PassCosts costs = guess_costs(kCheaper, largest, narrow, prompt);
        for (const CostCurve& curve : {costs.exact, costs.draft}) {
          double before = 0;
          for (const CostPoint& point : curve.points) {
            EXPECT_GT(point.time, 0);
            EXPECT_TRUE(std::isfinite(point.time));
            EXPECT_GE(point.time, before);
            before = point.time;
          }
        }
      }
}

TEST(GuessedCosts, trust_a_short_or_slow_prompt_no_further_than_the_narrow_pass) {
  const PassCosts slow = guess_costs(kAlike, 32, {8, 136}, {200, 9000});
  EXPECT_LE(slow.exact.of(32), 136 * 4);
  EXPECT_EQ(guess_costs(kAlike, 32, {8, 136}, {20, 308}).exact.points,
            guess_costs(kAlike, 32, {8, 136}, {}).exact.points);
}

TEST(GuessedCosts, fall_with_one_that_was_too_high) {
  PassCosts costs = guess_costs(kAlike, 32, {8, 500}, {1000, 3000});  // a bad moment of the first pass
  costs.exact.learn(8, 140);
  EXPECT_NEAR(costs.exact.of(8), 140, 1);
  EXPECT_LT(costs.exact.of(32), 250) << "or nobody would try them";
}

TEST(GuessedCosts, that_were_seen_once_do_not_fall_with_others) {
  PassCosts costs = guess_costs(kAlike, 32, {8, 360}, {});
  costs.exact.learn(1, 140);
  EXPECT_EQ(costs.exact.of(8), 360);
}

TEST(CostCurve, gets_a_point_where_none_is_near) {
  CostCurve costs{{{1, 20}, {96, 20}}};
  costs.learn(2048, 100);
  for (int i = 0; i < 20; ++i) costs.learn(400, 21);
  EXPECT_NEAR(costs.of(400), 21, 1);
  EXPECT_EQ(costs.of(96), 20) << "a burst says nothing of it";
  EXPECT_EQ(costs.of(2048), 100);
}

TEST(WidenedCosts, are_known_as_far_as_they_were) {
  PassCosts costs{{{{1, 100}, {8, 110}, {24, 200}}}, {{{1, 50}, {8, 60}}}};
  widen(costs, 32);
  EXPECT_EQ(costs.exact.most(), widest_exact(32));
  EXPECT_EQ(costs.draft.most(), 32);
  EXPECT_EQ(costs.exact.of(24), 200);
  EXPECT_EQ(costs.exact.points[2].unseen, 0);
  EXPECT_GT(costs.exact.points.back().unseen, 0);
  PassCosts none;
  widen(none, 32);
  EXPECT_TRUE(none.exact.points.empty());
}

class Learner : public testing::Test {
 protected:
  void wrote(int rows, double ms, const std::vector<BlockChooser*>& choosers, bool drafted = false) {
    const Segment segment = of(rows, drafted);
    learner_.wrote({&segment, 1}, ms, choosers, 8);
  }
  void read(int rows, double ms) {
    const Segment segment = of(rows, false);
    learner_.read({&segment, 1}, ms);
  }
  BlockChooser a_{{}, 8}, b_{{}, 8};

 private:
  Segment of(int rows, bool drafted) {
    tokens_.resize(static_cast<size_t>(rows));
    Segment segment;
    segment.tokens = tokens_, segment.approximate = drafted;
    return segment;
  }
  std::vector<TokenId> tokens_;
  CostLearner learner_{kCheaper};
};

TEST_F(Learner, begins_with_the_first_pass_that_decides) {
  read(200, 3000);
  wrote(7, 80, {&a_}, /*drafted=*/true);
  EXPECT_TRUE(a_.costs().exact.points.empty()) << "a draft says nothing of exact passes";
  wrote(8, 300, {&a_});
  EXPECT_EQ(a_.costs().exact.of(8), 300);
  wrote(7, 120, {&a_}, /*drafted=*/true);
  EXPECT_NEAR(a_.costs().draft.of(7), 120, 20);
}

TEST_F(Learner, teaches_all_whose_texts_share_a_pass_and_each_once) {
  wrote(8, 300, {&a_, &b_});
  for (int i = 0; i < 3; ++i) wrote(8, 300, {&a_, &b_});  // nothing is a guess any more
  const double before = a_.costs().exact.of(8);
  wrote(8, 600, {&a_, &b_, &a_, &a_, &b_});
  EXPECT_EQ(a_.costs().exact.of(8), b_.costs().exact.of(8));
  EXPECT_LT(a_.costs().exact.of(8), 1.2 * before) << "one pass";
  wrote(500, 9000, {&a_});
  EXPECT_EQ(a_.costs().exact.of(500), 9000) << "far beyond what one text asks for";
}

}  // namespace
}  // namespace dvlm
