#include "train/masks.h"

#include <gtest/gtest.h>

#include <memory>

#include "toy.h"

namespace dvlm {
namespace {

Row toy_row(int block_size, const RowOptions& options = {}, size_t copies = 2) {
  const Sample sample = toy::two_turns();
  const Layout layout = make_layout(static_cast<int>(sample.ids.size()), sample.answers, block_size);
  auto noise = draw_noise(sample.ids, layout, toy::kEnd, {}, {1, 1});
  noise.resize(copies);
  return make_row(sample, layout, noise, toy::tokens(), options);
}

std::vector<std::string> picture(const Row& row) {
  const size_t size = row.stream.size();
  const auto cells = std::make_unique<bool[]>(size * size);
  fill_visibility(row.stream, static_cast<int64_t>(size), cells.get(), row.clean_attention);
  std::vector<std::string> lines(size, std::string(size, '.'));
  for (size_t q = 0; q < size; ++q)
    for (size_t k = 0; k < size; ++k)
      if (cells[q * size + k]) lines[q][k] = '#';
  return lines;
}

TEST(Masks, WorkedTwoTurnDialogue) {
  // Prompt p q, answer a b c (block size 2), prompt r, answer d: turns 0 0 1 1 2 3 4.
  Sample sample;
  sample.ids = {20, 21, 30, 31, 32, 22, 33};
  sample.positions.resize(7);
  sample.answers = {{2, 5}, {6, 7}};
  const Layout layout = make_layout(7, sample.answers, 2);
  const std::vector<MaskedFlags> copies = {MaskedFlags(7, 0)};
  const Row row = make_row(sample, layout, copies, toy::tokens(), {});
  const std::vector<std::string> expected = {
      // noisy p q a b c r d | clean p q a b c r d
      "##............",  // p: its own stretch; nothing clean is earlier
      "##............",  // q
      "..##...##.....",  // a: its block, and the clean prompt
      "..##...##.....",  // b
      "....#..####...",  // c: alone in its block, and all clean before it
      ".....#.#####..",  // r: the prompt stretch, never its own clean copy
      "......#######.",  // d
      ".......#......",  // clean: causal
      ".......##.....", ".......###....", ".......####...",
      ".......#####..", ".......######.", ".......#######",
  };
  EXPECT_EQ(picture(row), expected);
}

// The same dialogue with block attention: only the clean half changes, in which each turn is a square.
TEST(Masks, BlockAttentionOfTheSameDialogue) {
  Sample sample;
  sample.ids = {20, 21, 30, 31, 32, 22, 33};
  sample.positions.resize(7);
  sample.answers = {{2, 5}, {6, 7}};
  const Layout layout = make_layout(7, sample.answers, 2);
  const std::vector<MaskedFlags> copies = {MaskedFlags(7, 0)};
  const Row row = make_row(sample, layout, copies, toy::tokens(), {.clean_attention = CleanAttention::block});
  const std::vector<std::string> expected = {
      // noisy p q a b c r d | clean p q a b c r d
      "##............",  // noisy: as with causal attention
      "##............", "..##...##.....", "..##...##.....",
      "....#..####...", ".....#.#####..", "......#######.",
      ".......##.....",  // p: the prompt is one turn
      ".......##.....",  // q
      ".......####...",  // a: its block, b included
      ".......####...",  // b
      ".......#####..",  // c: alone in the shorter last block
      ".......######.",  // r
      ".......#######",  // d
  };
  EXPECT_EQ(picture(row), expected);
}

// Without auto-truncation, block size 2 from a on: [a b] [c r] [d].
TEST(Masks, WithoutAutoTruncationABlockHoldsWhatFollowsTheAnswer) {
  Sample sample;
  sample.ids = {20, 21, 30, 31, 32, 22, 33};
  sample.positions.resize(7);
  sample.answers = {{2, 5}, {6, 7}};
  const Layout layout = make_untruncated_layout(7, sample.answers, 2);
  const std::vector<MaskedFlags> copies = {MaskedFlags(7, 0)};
  const Row row = make_row(sample, layout, copies, toy::tokens(), {});
  const std::vector<std::string> expected = {
      // noisy p q a b c r d | clean p q a b c r d
      "##............", "##............",
      "..##...##.....",                    // a, b
      "..##...##.....", "....##.####...",  // c sees r, which asks the next question
      "....##.####...",                    // r: in the block of c
      "......#######.",                    // d
      ".......#......",                    // clean: causal
      ".......##.....", ".......###....", ".......####...",
      ".......#####..", ".......######.", ".......#######",
  };
  EXPECT_EQ(picture(row), expected);
}

TEST(Masks, RangesAgreeWithTheRuleForEveryPair) {
  for (const int block_size : {2, 4, 32}) {
    for (const bool efficient : {true, false}) {
      for (const bool prompts : {true, false}) {
        for (const size_t copies : {0u, 1u, 2u}) {
          for (const CleanAttention attention : {CleanAttention::causal, CleanAttention::block}) {
            const Row row = toy_row(
                block_size,
                {.vision_efficient = efficient, .noisy_prompts = prompts, .clean_attention = attention},
                copies);
            const std::vector<std::string> got = picture(row);
            for (size_t q = 0; q < got.size(); ++q)
              for (size_t k = 0; k < got.size(); ++k)
                EXPECT_EQ(got[q][k] == '#', visible(row.stream[q], row.stream[k], attention))
                    << q << " sees " << k;
          }
        }
      }
    }
  }
}

// The three rules as the specification writes them, on turns that this test derives by itself.
TEST(Masks, RuleFollowsTurnsDerivedIndependently) {
  const Sample sample = toy::two_turns();
  const auto turn_of = [&](int i) {  // block size 4
    if (i < 15) return 0;
    if (i < 20) return 1 + (i - 15) / 4;
    if (i < 29) return 3;
    return 4;
  };
  const Row row = toy_row(4);
  const auto expect_rule = [&](CleanAttention attention, const StreamToken& q, const StreamToken& k) {
    const int tq = turn_of(q.index), tk = turn_of(k.index);
    bool expected = false;
    if (q.stream >= 0 && k.stream >= 0)
      expected = q.stream == k.stream && tq == tk;
    else if (q.stream >= 0)
      expected = tk < tq;
    else if (k.stream < 0)
      expected = attention == CleanAttention::block ? tk <= tq : k.index <= q.index;
    EXPECT_EQ(visible(q, k, attention), expected);
  };
  for (const StreamToken& q : row.stream)
    for (const StreamToken& k : row.stream)
      for (const CleanAttention attention : {CleanAttention::causal, CleanAttention::block})
        expect_rule(attention, q, k);
}

TEST(Masks, NoTokenIsBlind) {
  for (const std::string& line : picture(toy_row(2))) EXPECT_NE(line.find('#'), std::string::npos);
}

}  // namespace
}  // namespace dvlm
