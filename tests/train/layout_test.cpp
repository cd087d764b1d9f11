#include "train/layout.h"

#include <gmock/gmock.h>

#include "toy.h"

namespace dvlm {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

TEST(Answers, ReachFromAfterTheHeaderThroughEndAndNewline) {
  EXPECT_THAT(toy::two_turns().answers, ElementsAre(Span{15, 20}, Span{29, 32}));
}

TEST(Answers, CutByTheContextReachTheEnd) {
  std::vector<TokenId> ids = toy::two_turns().ids;
  ids.resize(31);  // without the last newline
  EXPECT_EQ(find_answers(ids, toy::markers())[1], (Span{29, 31}));
  ids.resize(30);  // without <|im_end|>
  EXPECT_EQ(find_answers(ids, toy::markers())[1], (Span{29, 30}));
  ids.resize(29);  // right after the header: nothing to learn
  EXPECT_EQ(find_answers(ids, toy::markers()).size(), 1u);
}

TEST(Answers, AreNotFoundInOtherRoles) {
  const std::vector<TokenId> ids = {toy::kStart, toy::kUser, toy::kNewline, 20, toy::kEnd, toy::kNewline};
  EXPECT_THAT(find_answers(ids, toy::markers()), IsEmpty());
}

TEST(Answers, MarkersComeFromTheTokenizer) {
  const Tokenizer tokenizer(std::filesystem::path(DVLM_FIXTURES) / "../../examples/tiny/model");
  const AnswerMarkers markers = answer_markers(tokenizer);
  EXPECT_EQ(tokenizer.decode(markers.header, false), "<|im_start|>assistant\n");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{markers.end}, false), "<|im_end|>");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{markers.newline}, false), "\n");
}

TEST(Layout, BlocksCountFromEachAnswersStartAndNeverCrossTurns) {
  const Sample sample = toy::two_turns();
  const Layout layout = make_layout(32, sample.answers, 2);
  std::vector<int> block(32, -1), turn(32, 0);
  // First answer, 5 tokens: blocks 0 0 1 1 2; second, 3 tokens: 3 3 4.
  const int first[] = {0, 0, 1, 1, 2}, second[] = {3, 3, 4};
  std::copy(std::begin(first), std::end(first), block.begin() + 15);
  std::copy(std::begin(second), std::end(second), block.begin() + 29);
  for (size_t i = 0; i < 32; ++i)
    turn[i] = i < 15 ? 0 : i < 17 ? 1 : i < 19 ? 2 : i < 20 ? 3 : i < 29 ? 4 : i < 31 ? 5 : 6;
  EXPECT_THAT(layout.block, ElementsAreArray(block));
  EXPECT_THAT(layout.turn, ElementsAreArray(turn));
  EXPECT_EQ(layout.blocks, 5);
}

TEST(Layout, ABlockLongerThanTheAnswerIsTruncated) {
  const Sample sample = toy::two_turns();
  const Layout layout = make_layout(32, sample.answers, 32);
  EXPECT_EQ(layout.blocks, 2);
  EXPECT_EQ(layout.block[15], 0);
  EXPECT_EQ(layout.block[19], 0);
  EXPECT_EQ(layout.block[29], 1);
  EXPECT_EQ(layout.turn[31], 3);
}

TEST(Layout, AdjacentAnswersKeepTheirOwnBlocks) {
  const std::vector<Span> answers = {{0, 3}, {3, 5}};
  const Layout layout = make_layout(5, answers, 4);
  EXPECT_THAT(layout.block, ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(layout.turn, ElementsAre(0, 0, 0, 1, 1));
}

TEST(Layout, WithoutAutoTruncationBlocksRunFromTheFirstAnswerToTheEnd) {
  const Sample sample = toy::two_turns();
  const Layout layout = make_untruncated_layout(32, sample.answers, 8);
  std::vector<int> block(32, -1), turn(32, 0), answer(32, 0);
  for (size_t i = 15; i < 32; ++i) block[i] = i < 23 ? 0 : i < 31 ? 1 : 2, turn[i] = block[i] + 1;
  for (size_t i = 15; i < 20; ++i) answer[i] = 1;
  for (size_t i = 29; i < 32; ++i) answer[i] = 1;
  EXPECT_THAT(layout.block, ElementsAreArray(block));
  EXPECT_THAT(layout.turn, ElementsAreArray(turn));
  EXPECT_THAT(layout.answer, ElementsAreArray(answer));
  EXPECT_EQ(layout.blocks, 3);
}

TEST(Layout, WithOneAnswerAtTheEndAutoTruncationChangesNothing) {
  const std::vector<Span> answers = {{3, 13}};
  const Layout cut = make_layout(13, answers, 4), whole = make_untruncated_layout(13, answers, 4);
  EXPECT_EQ(cut.block, whole.block);
  EXPECT_EQ(cut.turn, whole.turn);
  EXPECT_EQ(cut.answer, whole.answer);
  EXPECT_EQ(cut.blocks, whole.blocks);
}

TEST(Layout, NothingToLearnHasNoBlocks) {
  const Layout layout = make_untruncated_layout(4, {}, 2);
  EXPECT_THAT(layout.block, ElementsAre(-1, -1, -1, -1));
  EXPECT_EQ(layout.blocks, 0);
}

// Decoding reads a prompt in the turns that training had.
TEST(Layout, TurnsOfAPromptEndWhereThoseOfTheLayoutDo) {
  const Sample sample = toy::two_turns();
  for (const int block_size : {1, 2, 3, 4, 5, 32}) {
    for (int tokens = 1; tokens <= 32; ++tokens) {
      const std::span ids = std::span(sample.ids).first(static_cast<size_t>(tokens));
      const std::vector<Span> answers = find_answers(ids, toy::markers());
      const Layout layout = make_layout(tokens, answers, block_size);
      std::vector<int> ends;
      for (int i = 1; i < tokens; ++i)
        if (layout.turn[static_cast<size_t>(i)] != layout.turn[static_cast<size_t>(i) - 1]) ends.push_back(i);
      ends.push_back(tokens);
      EXPECT_EQ(turn_ends(tokens, answers, block_size), ends)
          << tokens << " tokens, blocks of " << block_size;
    }
  }
}

TEST(Layout, AFirstBlockMayBeShorter) {
  const std::vector<Span> answers = {{1, 8}};
  const std::vector<int> first = {1};
  EXPECT_THAT(make_layout(8, answers, 4, first).block, ElementsAre(-1, 0, 1, 1, 1, 1, 2, 2));
  const std::vector<int> whole = {4};
  EXPECT_THAT(make_layout(8, answers, 4, whole).block, ElementsAreArray(make_layout(8, answers, 4).block));
}

}  // namespace
}  // namespace dvlm
