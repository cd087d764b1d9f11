#include "train/batch.h"

#include <gmock/gmock.h>

#include "toy.h"

namespace dvlm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

MaskedFlags mask_at(std::initializer_list<size_t> indices) {
  MaskedFlags flags(32, 0);
  for (const size_t i : indices) flags[i] = 1;
  return flags;
}

struct Toy {
  Sample sample = toy::two_turns();
  Layout layout = make_layout(32, sample.answers, 4);
  Row row(const std::vector<MaskedFlags>& copies, const RowOptions& options = {}) const {
    return make_row(sample, layout, copies, toy::tokens(), options);
  }
};

TEST(Rows, WithoutCopiesScoreAnswersWithTheTokenShift) {
  Toy toy;
  toy::add_picture(toy.sample, toy::small_config().vision);
  const Row row = toy.row({});
  EXPECT_EQ(row.tokens, toy.sample.ids);
  EXPECT_THAT(row.noisy, IsEmpty());
  EXPECT_THAT(row.features, ElementsAre(ElementsAre(4, 5, 6, 7)));
  using S = Row::Scored;
  EXPECT_THAT(row.clean,
              ElementsAre(S{14, 30}, S{15, 31}, S{16, 32}, S{17, toy::kEnd}, S{18, toy::kNewline},  //
                          S{28, 33}, S{29, toy::kEnd}, S{30, toy::kNewline}));
}

TEST(Rows, NoisyCopiesDropVisionPlaceholdersAndKeepPositions) {
  const Toy toy;
  const Row row = toy.row({mask_at({16, 18, 30})});
  // vision_start and 4 image tokens of 32 are gone: the clean half begins at 27.
  ASSERT_EQ(row.tokens.size(), 27u + 32u);
  EXPECT_EQ(row.tokens[3], toy::kVisionEnd);
  EXPECT_EQ(row.positions[3].t, 8);
  EXPECT_EQ(row.stream[3].index, 8);
  EXPECT_EQ(row.tokens[16 - 5], toy::kMask);
  EXPECT_EQ(row.tokens[15 - 5], 30);
  EXPECT_EQ(row.tokens[27 + 16], 31);  // the clean half is untouched
  using S = Row::Scored;
  EXPECT_THAT(row.noisy, ElementsAre(S{10, 31}, S{12, toy::kEnd}, S{24, toy::kEnd}));
  EXPECT_EQ(row.clean.front(), (S{27 + 14, 30}));
}

TEST(Rows, AMaskedFirstAnswerTokenIsScoredAtThePromptsLastToken) {
  const Toy toy;
  const Row row = toy.row({mask_at({15})});
  EXPECT_THAT(row.noisy, ElementsAre(Row::Scored{9, 30}));
  EXPECT_EQ(row.tokens[9], toy::kNewline);
}

// A clean token of a block sees the others: only the first token of each block is predicted by a row that
// does not see it.
TEST(Rows, WithBlockAttentionCleanRowsScoreOnlyWhatTheyDoNotSee) {
  const Toy toy;
  const Row row = toy.row({mask_at({15, 16, 30})}, {.clean_attention = CleanAttention::block});
  using S = Row::Scored;
  const int clean = 27;  // 32 tokens without the 5 of the picture
  EXPECT_THAT(row.clean, ElementsAre(S{clean + 14, 30}, S{clean + 18, toy::kNewline}, S{clean + 28, 33}));
  for (const S& scored : row.clean)
    EXPECT_FALSE(visible(row.stream[static_cast<size_t>(scored.at)],
                         row.stream[static_cast<size_t>(scored.at) + 1], CleanAttention::block));
  EXPECT_EQ(row.noisy, toy.row({mask_at({15, 16, 30})}).noisy);
}

TEST(Rows, WithoutAutoTruncationPromptsInBlocksAreNeitherHiddenNorScored) {
  Toy toy;
  toy.layout = make_untruncated_layout(32, toy.sample.answers, 8);
  const auto copies = draw_noise(toy.sample.ids, toy.layout, toy::kEnd, {}, {1, 9});
  ASSERT_EQ(copies.size(), 2u);
  for (size_t i = 0; i < 32; ++i) {
    const int expected = !toy.layout.answer[i] ? 0 : toy.sample.ids[i] == toy::kEnd ? 2 : 1;
    EXPECT_EQ(copies[0][i] + copies[1][i], expected) << i;
  }
  Toy truncated;
  const Row row = toy.row(copies), other = truncated.row(copies);
  EXPECT_EQ(row.noisy, other.noisy);
  EXPECT_EQ(row.clean, other.clean);
}

TEST(Rows, WithVisionEverythingIsKept) {
  const Toy toy;
  EXPECT_EQ(toy.row({mask_at({}), mask_at({})}, {.vision_efficient = false}).tokens.size(), 96u);
}

TEST(Rows, AnswersOnlyCopiesScoreNothingAcrossTheGap) {
  const Toy toy;
  const Row row = toy.row({mask_at({15, 16, 29, 30})}, {.noisy_prompts = false});
  ASSERT_EQ(row.tokens.size(), 8u + 32u);
  // 15 and 29 begin their answers: what precedes them is not in the copy.
  EXPECT_THAT(row.noisy, ElementsAre(Row::Scored{0, 31}, Row::Scored{5, toy::kEnd}));
}

TEST(Rows, APairPredictsEachAnswerTokenOnceAndTheEndTwice) {
  const Toy toy;
  const auto copies = draw_noise(toy.sample.ids, toy.layout, toy::kEnd, {}, {1, 9});
  const Row row = toy.row(copies);
  std::map<TokenId, int> seen;
  for (const Row::Scored& scored : row.noisy) ++seen[scored.target];
  EXPECT_EQ(seen[30], 1);
  EXPECT_EQ(seen[31], 1);
  EXPECT_EQ(seen[32], 1);
  EXPECT_EQ(seen[33], 1);
  EXPECT_EQ(seen[toy::kEnd], 4);      // two answers
  EXPECT_EQ(seen[toy::kNewline], 2);  // both masked once
  EXPECT_EQ(row.noisy.size(), 10u);
}

TEST(Collate, PadsOnTheRightAndHidesThePadding) {
  const Toy toy;
  Toy shorter;
  shorter.sample.ids.resize(22), shorter.sample.positions.resize(22);
  shorter.sample.answers = find_answers(shorter.sample.ids, toy::markers());
  shorter.layout = make_layout(22, shorter.sample.answers, 4);
  const std::vector<Sample> samples = {shorter.sample, toy.sample};
  const std::vector<Row> rows = {shorter.row({MaskedFlags(22, 0)}), toy.row({mask_at({16})})};
  const TrainBatch batch = collate(rows, samples, toy::kPad);
  const int64_t length = 64, used = 22 - 5 + 22;  // 27 + 32 = 59, rounded up
  ASSERT_EQ(batch.input.tokens.sizes(), (std::vector<int64_t>{2, length}));
  ASSERT_EQ(batch.input.mask.sizes(), (std::vector<int64_t>{2, 1, length, length}));
  EXPECT_EQ(batch.input.tokens[0][used].item<int64_t>(), toy::kPad);
  const torch::Tensor mask = batch.input.mask[0][0];
  EXPECT_EQ(mask.slice(0, 0, used).slice(1, used).sum().item<int64_t>(), 0);
  EXPECT_TRUE(mask.slice(0, used).slice(1, used).equal(torch::eye(length - used, torch::kBool)));
  EXPECT_EQ(batch.noisy_rows.item<int64_t>(), length + 10);
  EXPECT_EQ(batch.noisy_targets.item<int64_t>(), 31);
  EXPECT_EQ(batch.answer_tokens, 5 + 5 + 3);
  EXPECT_EQ(batch.input.positions[2][1][58].item<int64_t>(), 31);
  EXPECT_TRUE(batch.input.mask[1][0].slice(0, 59).slice(1, 59).equal(torch::eye(5, torch::kBool)));
}

TEST(Collate, BlockAttentionNeedsItsMaskEvenWithoutCopies) {
  const Toy toy;
  const Row row = toy.row({}, {.clean_attention = CleanAttention::block});
  const TrainBatch batch = collate({&row, 1}, {&toy.sample, 1}, toy::kPad);
  ASSERT_TRUE(batch.input.mask.defined());
  EXPECT_TRUE(batch.input.mask[0][0].slice(0, 0, 15).slice(1, 0, 15).all().item<bool>());
  EXPECT_FALSE(batch.input.mask[0][0][14][15].item<bool>());
}

TEST(Collate, AutoregressiveBatchesNeedNoMask) {
  Toy toy;
  toy::add_picture(toy.sample, toy::small_config().vision);
  const std::vector<Sample> samples = {toy.sample, toy.sample};
  const std::vector<Row> rows = {toy.row({}), toy.row({})};
  const TrainBatch batch = collate(rows, samples, toy::kPad);
  EXPECT_FALSE(batch.input.mask.defined());
  EXPECT_EQ(batch.input.patches.size(0), 32);
  EXPECT_EQ(batch.input.grids.size(), 2u);
  EXPECT_TRUE(batch.input.feature_rows.equal(torch::tensor({4, 5, 6, 7, 68, 69, 70, 71}, torch::kInt64)));
}

}  // namespace
}  // namespace dvlm
