// Rounds that verify and draft in one pass, and rounds that leave out doubtful drafts.
#include <gtest/gtest.h>

#include "scripted.h"

namespace dvlm {
namespace {

TEST(Fused, VerifiesAndDraftsInOnePass) {
  auto model = scripted({7}, 100);
  auto options = speculative(4, 14);
  options.kind = DecoderKind::fused;
  const auto result = decode(model, make_prompt({7}), options);
  EXPECT_EQ(result.tokens, count_to(14));
  // Prefill, a step that drafts too, then every pass gives a block.
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 1, 4, 4, 4}));
  EXPECT_EQ(result.stats.fused, 4);
}

TEST(Fused, AnOutcomeWithoutABranchCostsOneStep) {
  auto model = confident(2, {0.9, 0.9, 0.8});  // of a block of 4, two drafts are right
  auto options = speculative(4, 30);
  options.kind = DecoderKind::fused;
  options.branches = 4;
  const auto all = decode(model, make_prompt({7}), options);
  EXPECT_EQ(all.tokens, count_to(30));
  EXPECT_EQ(std::vector<int>(all.emitted_per_pass.begin(), all.emitted_per_pass.begin() + 5),
            (std::vector<int>{1, 1, 3, 3, 3}));
  options.branches = 1;  // first for the likeliest outcome as the model sees it: all are right
  const auto one = decode(model, make_prompt({7}), options);
  EXPECT_EQ(one.tokens, count_to(30));
  EXPECT_EQ(std::vector<int>(one.emitted_per_pass.begin(), one.emitted_per_pass.begin() + 4),
            (std::vector<int>{1, 1, 3, 1}));
  EXPECT_EQ(*(one.emitted_per_pass.end() - 2), 3) << "it has learned which drafts to doubt";
}

std::vector<int> verified_rows(const Decoded& result) {
  std::vector<int> rows;
  for (const PassRecord& pass : result.records)
    if (pass.kind == PassKind::verify) rows.push_back(static_cast<int>(pass.block.size()));
  return rows;
}

TEST(DraftPMin, EndsVerificationBeforeTheFirstDraftThatIsTooImprobable) {
  const auto decoded = [](double p_min, int right) {
    auto model = confident(right, {0.9, 0.8, 0.5, 0.9});  // together: 0.9, 0.72, 0.36, 0.324, 0.2916, ...
    auto options = speculative(6, 20);
    options.record = true;
    options.draft_p_min = p_min;
    Decoded result = decode(model, make_prompt({7}), options);
    EXPECT_EQ(result.tokens, count_to(20)) << "the text never depends on it";
    return result;
  };
  EXPECT_EQ(verified_rows(decoded(0, 100))[0], 6);
  EXPECT_EQ(verified_rows(decoded(0.29, 100))[0], 6);
  EXPECT_EQ(verified_rows(decoded(0.30, 100))[0], 5);
  EXPECT_EQ(verified_rows(decoded(0.35, 100))[0], 4);
  EXPECT_EQ(verified_rows(decoded(0.37, 100))[0], 3);
  EXPECT_EQ(verified_rows(decoded(0.73, 100))[0], 2);
  EXPECT_EQ(verified_rows(decoded(0.91, 100))[0], 1);
  EXPECT_EQ(decoded(0.37, 100).emitted_per_pass[2], 3) << "the last row verified gives a token, too";
  EXPECT_EQ(decoded(0.37, 1).emitted_per_pass[2], 2);
  EXPECT_EQ(decoded(0.37, 100).stats.verified, 3 * 6 + 1) << "6 rounds of 3, and a step";
}

TEST(DraftPMin, BoundsWhatFusedPassesVerify) {
  auto model = confident(100, {0.9, 0.8, 0.5, 0.9});
  auto options = speculative(6, 40);
  options.kind = DecoderKind::fused;
  options.branches = 6;
  options.record = true;
  options.draft_p_min = 0.5;
  const Decoded result = decode(model, make_prompt({7}), options);
  EXPECT_EQ(result.tokens, count_to(40));
  for (const int rows : verified_rows(result)) EXPECT_LE(rows, 3);
  EXPECT_EQ(result.emitted_per_pass[3], 3);
}

TEST(Automatic, LeavesOutDoubtfulDraftsWhereRowsAreDear) {
  auto model = confident(3, {0.99, 0.99, 0.99, 0.1});
  auto options = speculative(8, 200);
  options.kind = DecoderKind::automatic;
  options.record = true;
  const CostCurve rows{{{1, 10}, {8, 17}}}, drafts{{{1, 1}}}, flat{{{1, 10}}};
  const DecodeContext dear_rows{.mask_token = kMask,
                                .chooser = std::make_shared<BlockChooser>(PassCosts{rows, drafts}, 8)};
  const Decoded dear = decode(model, make_prompt({7}), options, dear_rows);
  EXPECT_EQ(dear.tokens, count_to(200));
  for (const int verified : verified_rows(dear)) EXPECT_LE(verified, 4);
  EXPECT_NEAR(dear.stats.verified_per_round(), 4, 0.3);
  EXPECT_NEAR(dear.stats.accepted_per_round(), 4, 0.3);
  const DecodeContext cheap_rows{.mask_token = kMask,
                                 .chooser = std::make_shared<BlockChooser>(PassCosts{flat, drafts}, 8)};
  const Decoded cheap = decode(model, make_prompt({7}), options, cheap_rows);
  EXPECT_EQ(cheap.tokens, count_to(200));
  const std::vector<int> all = verified_rows(cheap);
  EXPECT_EQ(std::count(all.begin(), all.end(), 8), std::ssize(all) - 2) << "all but the last two blocks";
}

// Drafts that seem doubtful and are right: the row before them tells, so they are verified after a while.
TEST(Automatic, LearnsFromTheFirstDraftThatItLeftOut) {
  auto model = confident(100, {0.2});
  auto options = speculative(8, 300);
  options.kind = DecoderKind::automatic;
  options.record = true;
  const CostCurve rows{{{1, 10}, {8, 17}}}, drafts{{{1, 1}}};
  const DecodeContext context{.mask_token = kMask,
                              .chooser = std::make_shared<BlockChooser>(PassCosts{rows, drafts}, 8)};
  const Decoded result = decode(model, make_prompt({7}), options, context);
  EXPECT_EQ(result.tokens, count_to(300));
  const std::vector<int> all = verified_rows(result);
  EXPECT_LT(all.front(), 8);
  EXPECT_EQ(all[all.size() / 2], 8);
}

TEST(Automatic, DraftsExactlyWhereApproximationSpoilsDrafts) {
  auto model = confident(100, {0.9});
  model.approximate_draft = [](std::span<const TokenId>, std::span<const TokenId>, int) {
    return FakeModel::Row(kVocab, 0.0f);  // the token 0, which never comes
  };
  auto options = speculative(8, 300);
  options.kind = DecoderKind::automatic;
  const CostCurve exact{{{1, 10}, {8, 12}}}, draft{{{1, 4}, {8, 5}}};
  const DecodeContext context{.mask_token = kMask,
                              .chooser = std::make_shared<BlockChooser>(PassCosts{exact, draft}, 8)};
  const Decoded result = decode(model, make_prompt({7}), options, context);
  EXPECT_EQ(result.tokens, count_to(300));
  EXPECT_GT(result.stats.accepted_per_round(), 6);
}

}  // namespace
}  // namespace dvlm
