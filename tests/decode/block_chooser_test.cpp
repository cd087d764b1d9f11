#include "decode/block_chooser.h"

#include <gtest/gtest.h>

#include "decode/decoder.h"
#include "fake_model.h"

namespace dvlm {
namespace {

PassCosts costs_of(const CostCurve& curve) {
  return {curve, curve};
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

TEST(BlockChooser, drafts_as_much_as_it_may_when_drafts_are_right_and_passes_cheap) {
  BlockChooser chooser(kFree, 32);
  for (int i = 0; i < 30; ++i) chooser.record(32, 31, false, false);
  EXPECT_EQ(chooser.choose(100).block, 32);
  EXPECT_EQ(chooser.choose(20).block, 20);
  EXPECT_EQ(chooser.choose(1).block, 1);
}

TEST(BlockChooser, drafts_short_blocks_when_only_the_first_drafts_are_right) {
  BlockChooser chooser(costs_of({{{1, 1}, {4, 1.2}, {32, 4}}}), 32);
  for (int i = 0; i < 50; ++i) chooser.record(32, 3, false, false);
  EXPECT_EQ(chooser.choose(100).block, 4);
}

TEST(BlockChooser, stops_drafting_what_does_not_pay_and_tries_again_now_and_then) {
  BlockChooser chooser(kProportional, 32);
  int drafts = 0;
  for (int i = 0; i < 1000; ++i) {
    const RoundPlan plan = chooser.choose(100);
    drafts += plan.block > 1;
    chooser.record(plan.block, 0, false, plan.branches > 0);
  }
  EXPECT_GE(drafts, 10);
  EXPECT_LE(drafts, 30);
}

TEST(BlockChooser, changes_its_mind_when_drafts_become_right) {
  BlockChooser chooser(costs_of({{{1, 10}, {16, 11}, {48, 13}}}), 16);
  for (int i = 0; i < 200; ++i) {
    const RoundPlan plan = chooser.choose(100);
    chooser.record(plan.block, 0, false, plan.branches > 0);
  }
  EXPECT_EQ(chooser.choose(100).block, 1);
  int drafts = 0;
  for (int i = 0; i < 400; ++i) {
    const RoundPlan plan = chooser.choose(100);
    chooser.record(plan.block, plan.block - 1, false, plan.branches > 0);
    drafts += plan.block > 1;
  }
  EXPECT_EQ(chooser.choose(100).block, 16);
  EXPECT_GT(drafts, 100);
}

TEST(BlockChooser, drafts_less_when_others_share_its_passes) {
  BlockChooser chooser(costs_of({{{1, 10}, {32, 11}, {64, 22}, {96, 33}}}), 32);
  for (int i = 0; i < 50; ++i) chooser.record(32, 20, false, false);
  const int alone = chooser.choose(100).block;
  chooser.set_sharing(8);
  const int together = chooser.choose(100).block;
  EXPECT_GE(alone, 16);
  EXPECT_LE(together, 8);
  chooser.set_sharing(1);
  EXPECT_EQ(chooser.choose(100).block, alone);
}

TEST(BlockChooser, counts_what_a_draft_costs) {
  const CostCurve narrow{{{1, 1}}}, wide{{{1, 1}, {32, 1}}}, dear{{{1, 30}, {32, 30}}};
  BlockChooser cheap({narrow, narrow}, 8), costly({narrow, dear}, 8), fused({wide, dear}, 8);
  EXPECT_EQ(cheap.choose(100).block, 8);
  EXPECT_EQ(costly.choose(100).block, 1);
  EXPECT_GT(fused.choose(100).branches, 0);
}

TEST(BlockChooser, verifies_and_drafts_at_once_when_rows_are_free_and_such_drafts_are_right) {
  const CostCurve flat{{{1, 1}, {96, 1}}};
  BlockChooser chooser({flat, flat}, 16);
  for (int i = 0; i < 50; ++i) {
    chooser.record(16, 8, false, false);
    chooser.record(16, 8, false, true);
  }
  EXPECT_GT(chooser.choose(100).branches, 0);
  for (int i = 0; i < 50; ++i) chooser.record(16, 1, false, true);
  EXPECT_EQ(chooser.choose(100).branches, 0) << "their drafts became worse than those that know a token more";
}

TEST(BlockChooser, makes_no_pass_wider_than_was_measured) {
  const CostCurve flat{{{1, 1}, {20, 1}}};
  const BlockChooser fresh({flat, flat}, 16);
  BlockChooser chooser = fresh;
  for (int limit = 1; limit < 40; ++limit) {
    const RoundPlan plan = chooser.choose(limit);
    EXPECT_LE(plan.block + plan.branches * (plan.block - 1), 20);
    EXPECT_LE(plan.block, std::min(limit, 16));
  }
}

TEST(DraftHistory, knows_where_verification_is_likely_to_end) {
  DraftHistory history(8);
  for (int i = 0; i < 60; ++i) history.record(8, i % 3 == 0 ? 5 : 2, false);
  EXPECT_EQ(history.likely_ends(8, 1, kPriorChance), std::vector<int>{3});
  EXPECT_EQ(history.likely_ends(8, 2, kPriorChance), (std::vector<int>{3, 6}));
  EXPECT_EQ(history.likely_ends(4, 100, kPriorChance), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_NEAR(history.covered(8, 8, kPriorChance), 1, 1e-9);
  EXPECT_GT(history.covered(8, 2, kPriorChance), 0.8);
}

TEST(BlockChooser, learns_nothing_from_where_the_text_ended) {
  const PassCosts rising = costs_of({{{1, 1}, {8, 2}}});
  BlockChooser ended(rising, 8), wrong(rising, 8);
  for (int i = 0; i < 20; ++i) {
    ended.record(8, 2, true, false);
    wrong.record(8, 2, false, false);
  }
  EXPECT_EQ(ended.choose(100).block, 8);
  EXPECT_LT(wrong.choose(100).block, 8);
}

}  // namespace
}  // namespace dvlm
