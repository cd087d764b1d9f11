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

TEST(CostCurve, is_interpolated) {
  const CostCurve costs{{{1, 2}, {5, 4}, {9, 12}}};
  EXPECT_EQ(costs.of(1), 2);
  EXPECT_EQ(costs.of(3), 3);
  EXPECT_EQ(costs.of(5), 4);
  EXPECT_EQ(costs.of(7), 8);
  EXPECT_EQ(costs.of(100), 12);
}

TEST(BlockChooser, drafts_as_much_as_it_may_when_drafts_are_right_and_passes_cheap) {
  BlockChooser chooser(kFree, 32);
  for (int i = 0; i < 30; ++i) chooser.record(32, 31, false);
  EXPECT_EQ(chooser.choose(100), 32);
  EXPECT_EQ(chooser.choose(20), 20);
  EXPECT_EQ(chooser.choose(1), 1);
}

TEST(BlockChooser, drafts_short_blocks_when_only_the_first_drafts_are_right) {
  BlockChooser chooser(costs_of({{{1, 1}, {4, 1.2}, {32, 4}}}), 32);
  for (int i = 0; i < 50; ++i) chooser.record(32, 3, false);
  EXPECT_EQ(chooser.choose(100), 4);
}

TEST(BlockChooser, stops_drafting_what_does_not_pay_and_tries_again_now_and_then) {
  BlockChooser chooser(kProportional, 32);
  int drafts = 0;
  for (int i = 0; i < 1000; ++i) {
    const int block = chooser.choose(100);
    drafts += block > 1;
    chooser.record(block, 0, false);
  }
  EXPECT_GE(drafts, 10);
  EXPECT_LE(drafts, 30);
}

TEST(BlockChooser, changes_its_mind_when_drafts_become_right) {
  BlockChooser chooser(kFree, 16);
  for (int i = 0; i < 100; ++i) chooser.record(chooser.choose(100), 0, false);
  EXPECT_EQ(chooser.choose(100), 1);
  int drafts = 0;
  for (int i = 0; i < 400; ++i) {
    const int block = chooser.choose(100);
    chooser.record(block, block - 1, false);
    drafts += block > 1;
  }
  EXPECT_EQ(chooser.choose(100), 16);
  EXPECT_GT(drafts, 100);
}

TEST(BlockChooser, counts_what_a_draft_costs) {
  const CostCurve flat{{{1, 1}, {32, 1}}}, dear{{{1, 30}, {32, 30}}};
  BlockChooser cheap({flat, flat}, 8), costly({flat, dear}, 8);
  EXPECT_EQ(cheap.choose(100), 8);
  EXPECT_EQ(costly.choose(100), 1);
}

TEST(BlockChooser, learns_nothing_from_where_the_text_ended) {
  const PassCosts rising = costs_of({{{1, 1}, {8, 2}}});
  BlockChooser ended(rising, 8), wrong(rising, 8);
  for (int i = 0; i < 20; ++i) {
    ended.record(8, 2, true);
    wrong.record(8, 2, false);
  }
  EXPECT_EQ(ended.choose(100), 8);
  EXPECT_LT(wrong.choose(100), 8);
}

}  // namespace
}  // namespace dvlm
