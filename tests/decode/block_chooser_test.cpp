#include "decode/block_chooser.h"

#include <gtest/gtest.h>

#include "decode/decoder.h"
#include "fake_model.h"

namespace dvlm {
namespace {

constexpr DraftSource kApproximate = DraftSource::approximate, kExact = DraftSource::exact,
                      kBranch = DraftSource::branch;

// Of a model that has no approximate passes.
PassCosts costs_of(const CostCurve& curve) {
  return {curve, {}};
}

// Confidences in the drafts of a block of `block` tokens.
std::vector<float> confidences(int block, float confidence = 0.8f) {
  return std::vector<float>(static_cast<size_t>(block - 1), confidence);
}

const PassCosts kFree = costs_of({{{1, 10}, {32, 10}}});         // a block costs what a token costs
const PassCosts kProportional = costs_of({{{1, 1}, {32, 32}}});  // nothing is gained by sharing a pass

TEST(CostCurve, is_interpolated_and_continued) {
  const CostCurve costs{{{1, 2}, {5, 4}, {9, 12}}};
  EXPECT_EQ(costs.of(1), 2);
  EXPECT_EQ(costs.of(3), 3);
  EXPECT_EQ(costs.of(5), 4);
  EXPECT_EQ(costs.of(7), 8);
  EXPECT_EQ(costs.of(10), 14) << "rows that nobody measured are not free";
  EXPECT_EQ(costs.of(0), 2);
  EXPECT_EQ((CostCurve{{{4, 3}}}.of(100)), 3);
}

TEST(CostCurve, learns_from_passes_little_by_little) {
  CostCurve costs{{{1, 100}, {8, 100}, {32, 400}}};
  costs.learn(8, 200);
  EXPECT_GT(costs.of(8), 110);
  EXPECT_LT(costs.of(8), 120);
  EXPECT_EQ(costs.of(1), 100);
  EXPECT_EQ(costs.of(32), 400);
  for (int i = 0; i < 50; ++i) costs.learn(9, 50);
  EXPECT_NEAR(costs.of(8), 50, 20);
  EXPECT_LE(costs.of(1), costs.of(8)) << "a narrower pass costs no more";
  CostCurve noisy = costs;
  noisy.learn(8, 1e9);
  EXPECT_LT(noisy.of(8), 1.2 * costs.of(8)) << "one bad moment is one";
  noisy.learn(8, 0);
  EXPECT_GT(noisy.of(8), 0);
}

TEST(BlockChooser, notices_that_wide_passes_became_dear) {
  BlockChooser chooser(costs_of({{{1, 10}, {8, 10}, {32, 10}, {96, 30}}}), 32);
  for (int i = 0; i < 30; ++i) chooser.record(confidences(32), 31, false, kExact);
  EXPECT_EQ(chooser.choose(100).block, 32);
  for (int i = 0; i < 40; ++i) {
    chooser.saw_pass(8, false, 10);
    chooser.saw_pass(7, true, 10);
    chooser.saw_pass(32, false, 200);
    chooser.saw_pass(31, true, 200);
  }
  EXPECT_EQ(chooser.choose(100).block, 8);
}

TEST(BlockChooser, drafts_as_much_as_it_may_when_drafts_are_right_and_passes_cheap) {
  BlockChooser chooser(kFree, 32);
  for (int i = 0; i < 30; ++i) chooser.record(confidences(32), 31, false, kExact);
  EXPECT_EQ(chooser.choose(100).block, 32);
  EXPECT_EQ(chooser.choose(20).block, 20);
  EXPECT_EQ(chooser.choose(1).block, 1);
}

TEST(BlockChooser, drafts_short_blocks_when_only_the_first_drafts_are_right) {
  BlockChooser chooser(costs_of({{{1, 1}, {4, 1.2}, {32, 4}}}), 32);
  for (int i = 0; i < 50; ++i) chooser.record(confidences(32), 3, false, kExact);
  EXPECT_EQ(chooser.choose(100).block, 4);
}

TEST(BlockChooser, stops_drafting_what_does_not_pay_and_tries_again_now_and_then) {
  BlockChooser chooser(kProportional, 32);
  int drafts = 0;
  for (int i = 0; i < 1000; ++i) {
    const RoundPlan plan = chooser.choose(100);
    drafts += plan.block > 1;
    chooser.record(confidences(plan.block), 0, false, plan.source);
  }
  EXPECT_GE(drafts, 10);
  EXPECT_LE(drafts, 30);
}

TEST(BlockChooser, changes_its_mind_when_drafts_become_right) {
  BlockChooser chooser(costs_of({{{1, 10}, {16, 11}, {48, 13}}}), 16);
  for (int i = 0; i < 200; ++i) {
    const RoundPlan plan = chooser.choose(100);
    chooser.record(confidences(plan.block), 0, false, plan.source);
  }
  EXPECT_EQ(chooser.choose(100).block, 1);
  int drafts = 0;
  for (int i = 0; i < 400; ++i) {
    const RoundPlan plan = chooser.choose(100);
    chooser.record(confidences(plan.block), plan.block - 1, false, plan.source);
    drafts += plan.block > 1;
  }
  EXPECT_EQ(chooser.choose(100).block, 16);
  EXPECT_GT(drafts, 100);
}

TEST(BlockChooser, drafts_less_when_others_share_its_passes) {
  BlockChooser chooser(costs_of({{{1, 10}, {32, 11}, {64, 22}, {96, 33}}}), 32);
  for (int i = 0; i < 50; ++i) chooser.record(confidences(32), 20, false, kExact);
  const int alone = chooser.choose(100).block;
  chooser.set_sharing(8);
  const int together = chooser.choose(100).block;
  EXPECT_GE(alone, 16);
  EXPECT_LE(together, 8);
  chooser.set_sharing(1);
  EXPECT_EQ(chooser.choose(100).block, alone);
}

TEST(BlockChooser, counts_what_a_draft_costs) {
  const CostCurve flat{{{1, 1}, {32, 1}}}, dear{{{1, 30}, {32, 30}}}, steep{{{1, 10}, {8, 50}}};
  BlockChooser cheap({steep, flat}, 8), costly({steep, dear}, 8), fused({flat, dear}, 8);
  EXPECT_GT(cheap.choose(100).block, 1);
  EXPECT_EQ(costly.choose(100).block, 1);
  EXPECT_GT(fused.choose(100).branches, 0);
}

TEST(BlockChooser, verifies_and_drafts_at_once_when_rows_are_free_and_such_drafts_are_right) {
  const CostCurve flat{{{1, 1}, {96, 1}}};
  BlockChooser chooser(costs_of(flat), 16);
  for (int i = 0; i < 50; ++i) {
    chooser.record(confidences(16), 8, false, kExact);
    chooser.record(confidences(16), 8, false, kBranch);
  }
  EXPECT_GT(chooser.choose(100).branches, 0);
  for (int i = 0; i < 50; ++i) chooser.record(confidences(16), 1, false, kBranch);
  EXPECT_EQ(chooser.choose(100).branches, 0) << "their drafts became worse than those that know a token more";
}

TEST(BlockChooser, makes_no_pass_wider_than_was_measured) {
  const CostCurve flat{{{1, 1}, {20, 1}}};
  const BlockChooser fresh(costs_of(flat), 16);
  BlockChooser chooser = fresh;
  for (int limit = 1; limit < 40; ++limit) {
    const RoundPlan plan = chooser.choose(limit);
    EXPECT_LE(plan.block + plan.branches * (plan.block - 1), 20);
    EXPECT_LE(plan.block, std::min(limit, 16));
  }
}

// Rows beyond six are dear, so that nothing is drafted beside the verification of six.
const PassCosts kApproximating = {{{{1, 10}, {6, 10.5}, {12, 60}}}, {{{1, 4}, {6, 5}}}};

// Rounds by their draft.
struct Rounds {
  int approximate = 0, exact = 0, other = 0;
};

// Plays rounds of a text in which this many drafts of each block are right.
Rounds play(BlockChooser& chooser, int rounds, int approximate_right, int exact_right) {
  Rounds out;
  for (int i = 0; i < rounds; ++i) {
    const RoundPlan plan = chooser.choose(100);
    const bool approximate = plan.source == kApproximate;
    const int right = std::min(plan.block - 1, approximate ? approximate_right : exact_right);
    chooser.record(confidences(plan.block), right, false, plan.source);
    ++(plan.block == 1 || plan.branches > 0 ? out.other : approximate ? out.approximate : out.exact);
  }
  return out;
}

TEST(BlockChooser, drafts_exactly_where_approximate_drafts_are_wrong) {
  BlockChooser chooser(kApproximating, 6);
  EXPECT_EQ(chooser.choose(100).source, kApproximate) << "what is cheap is tried first";
  const Rounds spoiled = play(chooser, 200, 0, 5);
  EXPECT_GT(spoiled.exact, 180);
  EXPECT_GE(spoiled.approximate, 200 / 48) << "tried again now and then";
  EXPECT_GT(play(chooser, 1000, 5, 5).approximate, 500) << "they became right";
}

TEST(BlockChooser, keeps_to_approximate_drafts_where_exact_ones_are_no_better) {
  for (const int right : {0, 1, 3, 5}) {
    BlockChooser chooser(kApproximating, 6);
    EXPECT_LT(play(chooser, 200, right, right).exact, 20) << right;
  }
}

TEST(BlockChooser, has_no_approximate_drafts_where_passes_are_shared_or_the_model_has_none) {
  const CostCurve exact{{{1, 10}, {64, 12}}}, draft{{{1, 4}, {32, 5}}};
  BlockChooser shared({exact, draft}, 32), none({exact, {}}, 32);
  shared.set_sharing(2);
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(shared.choose(100).source, kApproximate);
    EXPECT_NE(none.choose(100).source, kApproximate);
    shared.saw_pass(31, true, 10);
    none.saw_pass(31, true, 10);
  }
}

TEST(DraftHistory, believes_confidence_until_it_knows_better) {
  DraftHistory history(8, kPriorChance);
  EXPECT_NEAR(history.chance(0.3f), 0.3, 1e-6);
  EXPECT_EQ(history.chance(1), 1);
  EXPECT_EQ(history.chance(0), 0);
  for (int i = 0; i < 100; ++i) {
    history.record(confidences(2, 0.3f), i % 5 < 4, false);  // too modest
    history.record(confidences(2, 0.99f), i % 2, false);     // too sure of itself
  }
  EXPECT_NEAR(history.chance(0.3f), 0.75, 0.1);
  EXPECT_NEAR(history.chance(0.99f), 0.5, 0.1);
  EXPECT_NEAR(history.chance(0.75f), 0.75, 1e-6) << "of such drafts nobody has told anything";
}

TEST(DraftHistory, judges_no_draft_behind_a_wrong_one) {
  DraftHistory history(8, kPriorChance);
  const std::vector<float> confidences = {0.99f, 0.8f, 0.3f};
  for (int i = 0; i < 50; ++i) history.record(confidences, 1, false);
  EXPECT_GT(history.chance(0.99f), 0.99);
  EXPECT_LT(history.chance(0.8f), 0.2);
  EXPECT_NEAR(history.chance(0.3f), 0.3, 1e-6);
  for (int i = 0; i < 50; ++i) history.record(confidences, 2, true);
  EXPECT_GT(history.chance(0.8f), 0.9);
  EXPECT_NEAR(history.chance(0.3f), 0.3, 1e-6) << "cut before it";
}

TEST(DraftHistory, knows_where_verification_is_likely_to_end) {
  const DraftHistory history(8, kPriorChance);
  const std::vector<float> confidences = {0.99f, 0.5f, 0.99f, 0.6f, 0.99f};  // ends: .01 .5 .005 .2 .003 .29
  EXPECT_EQ(history.likely_ends(confidences, 1), std::vector<int>{2});
  EXPECT_EQ(history.likely_ends(confidences, 2), (std::vector<int>{2, 6}));
  EXPECT_EQ(history.likely_ends(confidences, 3), (std::vector<int>{2, 4, 6}));
  EXPECT_EQ(history.likely_ends(confidences, 100), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(history.likely_ends({}, 4), std::vector<int>{1});
}

TEST(DraftHistory, expects_fewer_surprises_when_confidence_tells_where_drafts_go_wrong) {
  DraftHistory vague(8, kPriorChance), telling(8, kPriorChance);
  for (int i = 0; i < 60; ++i) {
    const int right = i * 5 % 8;
    vague.record(confidences(8, 0.8f), right, false);
    std::vector<float> confidences(7, 0.99f);
    if (right < 7) confidences[static_cast<size_t>(right)] = 0.1f;
    telling.record(confidences, right, false);
  }
  EXPECT_NEAR(vague.covered(8, 8), 1, 1e-9);
  EXPECT_LT(vague.covered(8, 2), 0.6);
  EXPECT_GT(telling.covered(8, 2), 0.9);
  EXPECT_NEAR(vague.tokens(8), telling.tokens(8), 1e-9);
}

TEST(BlockChooser, begins_with_what_an_earlier_one_had_learnt) {
  const PassCosts costs = costs_of({{{1, 1}, {4, 1.2}, {32, 4}}});
  BlockChooser earlier(costs, 32);
  for (int i = 0; i < 50; ++i) earlier.record(confidences(32), 3, false, kExact);
  const RoundPlan plan = earlier.choose(100);
  EXPECT_NE(plan.block, BlockChooser(costs, 32).choose(100).block);
  EXPECT_EQ(BlockChooser(costs, 32, earlier.evidence()).choose(100).block, plan.block);
  EXPECT_EQ(BlockChooser(costs, 8, earlier.evidence()).choose(100).block, plan.block) << "of smaller blocks";
  EXPECT_EQ(BlockChooser(costs, 64, earlier.evidence()).choose(100).block, plan.block) << "and larger ones";
}

// Rows that cost and rows that do not, drafts of which the third is doubtful.
TEST(BlockChooser, verifies_what_is_worth_its_rows) {
  const std::vector<float> confidences = {0.99f, 0.98f, 0.2f, 0.9f, 0.9f};
  const CostCurve rising{{{1, 10}, {32, 41}}},
      steps{{{1, 10}, {4, 10}, {5, 20}}};  // a row costs 1; 4 rows cost one
  const auto verified = [&](const CostCurve& curve, double rate, const std::vector<float>& drafted) {
    return BlockChooser(costs_of(curve), 32).worth_verifying(drafted, {6, 0, rate}, kExact);
  };
  EXPECT_EQ(verified(rising, 0.3, confidences), 3);   // 0.19 more tokens are not worth 0.3
  EXPECT_EQ(verified(rising, 0.15, confidences), 6);  // now they are, and those behind them
  EXPECT_EQ(verified(rising, 0.995, confidences), 1);
  EXPECT_EQ(verified(steps, 0.3, confidences), 4) << "a row that costs nothing is worth any chance";
  EXPECT_EQ(verified(kFree.exact, 100, confidences), 6);
  EXPECT_EQ(verified(rising, 0.3, {}), 1);
  // A doubtful draft whose row is dear, sure ones behind it that are free: together they pay.
  const CostCurve step{{{1, 10}, {2, 20}, {8, 20}}};
  EXPECT_EQ(verified(step, 0.05, {0.3f}), 1);
  EXPECT_EQ(verified(step, 0.05, {0.3f, 0.99f, 0.99f}), 4);
}

TEST(BlockChooser, counts_the_rows_beside_verification_and_those_of_others) {
  const CostCurve corner{{{1, 10}, {10, 10}, {20, 30}}};
  BlockChooser chooser(costs_of(corner), 8);
  const std::vector<float> confidences(7, 0.9f);
  EXPECT_EQ(chooser.worth_verifying(confidences, {8, 0, 0.4}, kBranch), 8);
  EXPECT_EQ(chooser.worth_verifying(confidences, {4, 2, 0.4}, kBranch), 4)
      << "six rows are taken by branches";
  chooser.set_sharing(5);
  EXPECT_EQ(chooser.worth_verifying(confidences, {8, 0, 0.4}, kBranch), 2);
}

TEST(BlockChooser, learns_whom_to_believe) {
  const CostCurve rising{{{1, 10}, {32, 41}}};
  BlockChooser chooser(costs_of(rising), 8);
  const std::vector<float> confidences(7, 0.5f);
  const RoundPlan plan{8, 0, 0.3};
  EXPECT_EQ(chooser.worth_verifying(confidences, plan, kExact), 2);
  for (int i = 0; i < 30; ++i) chooser.record(confidences, 7, false, kExact);
  EXPECT_EQ(chooser.worth_verifying(confidences, plan, kExact), 8);
  EXPECT_EQ(chooser.worth_verifying(confidences, plan, kBranch), 2)
      << "drafts of branches are another matter";
}

TEST(BlockChooser, learns_nothing_from_where_the_text_ended) {
  const PassCosts rising = costs_of({{{1, 1}, {8, 2}}});
  BlockChooser ended(rising, 8), wrong(rising, 8);
  for (int i = 0; i < 20; ++i) {
    ended.record(confidences(8), 2, true, kExact);
    wrong.record(confidences(8), 2, false, kExact);
  }
  EXPECT_EQ(ended.choose(100).block, 8);
  EXPECT_LT(wrong.choose(100).block, 8);
}

}  // namespace
}  // namespace dvlm
