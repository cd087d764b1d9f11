#include "train/noise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "toy.h"

namespace dvlm {
namespace {

// One answer of `tokens` tokens, the last but one being <|im_end|>, after a prompt of 10.
struct LongAnswer {
  std::vector<TokenId> ids;
  Layout layout;
  LongAnswer(int tokens, int block_size) {
    ids.assign(10 + static_cast<size_t>(tokens), 20);
    ids[ids.size() - 2] = toy::kEnd;
    const std::vector<Span> answers = {{10, 10 + tokens}};
    layout = make_layout(10 + tokens, answers, block_size);
  }
};

TEST(Noise, ComplementaryCopiesCoverEveryAnswerTokenOnceAndEndTwice) {
  const LongAnswer answer(400, 32);
  const auto copies = draw_noise(answer.ids, answer.layout, toy::kEnd, {}, {1, 5});
  ASSERT_EQ(copies.size(), 2u);
  for (size_t i = 0; i < answer.ids.size(); ++i) {
    const int masked = copies[0][i] + copies[1][i];
    EXPECT_EQ(masked, i < 10 ? 0 : answer.ids[i] == toy::kEnd ? 2 : 1) << i;
  }
}

TEST(Noise, WithoutComplementThereIsOneCopyWithTheEndMasked) {
  const LongAnswer answer(64, 32);
  const NoiseOptions single{.complementary = false};
  for (uint64_t stream = 0; stream < 50; ++stream) {
    const auto copies = draw_noise(answer.ids, answer.layout, toy::kEnd, single, {1, stream});
    ASSERT_EQ(copies.size(), 1u);
    EXPECT_EQ(copies[0][answer.ids.size() - 2], 1);
    EXPECT_EQ(copies[0], draw_noise(answer.ids, answer.layout, toy::kEnd, {}, {1, stream})[0]);
  }
}

TEST(Noise, MaskedShareOfABlockIsUniform) {
  // With p uniform and n independent tokens, the number masked is uniform on 0..n.
  constexpr int kBlock = 4, kDraws = 8000;
  const LongAnswer answer(4 * kBlock + 2, kBlock);  // the last block holds the end
  const NoiseOptions options{.minimum_level = 0};
  std::vector<int> counts(kBlock + 1, 0);
  for (uint64_t stream = 0; stream < kDraws; ++stream) {
    const MaskedFlags masked = draw_noise(answer.ids, answer.layout, toy::kEnd, options, {3, stream})[0];
    for (size_t block = 0; block < 4; ++block) {
      int count = 0;
      for (size_t i = 0; i < kBlock; ++i) count += masked[10 + block * kBlock + i];
      ++counts[static_cast<size_t>(count)];
    }
  }
  const double expected = 4.0 * kDraws / (kBlock + 1);
  for (const int count : counts) EXPECT_NEAR(count, expected, 5 * std::sqrt(expected));
}

TEST(Noise, BlocksDrawTheirLevelsIndependently) {
  constexpr int kBlock = 64;
  const LongAnswer answer(2 * kBlock + 2, kBlock);
  double xy = 0, xx = 0;
  for (uint64_t stream = 0; stream < 2000; ++stream) {
    const MaskedFlags masked = draw_noise(answer.ids, answer.layout, toy::kEnd, {}, {3, stream})[0];
    double share[2] = {-0.5, -0.5};
    for (size_t i = 0; i < 2 * kBlock; ++i) share[i / kBlock] += masked[10 + i] / static_cast<double>(kBlock);
    xy += share[0] * share[1], xx += share[0] * share[0];
  }
  EXPECT_LT(std::abs(xy / xx), 0.12);
  EXPECT_GT(xx / 2000, 0.07);  // variance of a uniform level is 1/12; one level for all tokens of a block
}

TEST(Noise, MinimumLevelKeepsAFloor) {
  const LongAnswer answer(3000, 32);
  const auto copies = draw_noise(answer.ids, answer.layout, toy::kEnd, {.minimum_level = 0.999}, {1, 1});
  int shown = 0;
  for (size_t i = 10; i < answer.ids.size(); ++i) shown += copies[0][i] == 0;
  EXPECT_LT(shown, 12);
}

TEST(Noise, AShareOfBlocksIsMaskedWhole) {
  const LongAnswer answer(32 * 2000, 32);
  const MaskedFlags masked =
      draw_noise(answer.ids, answer.layout, toy::kEnd, {.full_mask_probability = 0.25}, {1, 1})[0];
  int whole = 0;
  for (size_t block = 0; block < 2000; ++block) {
    bool all = true;
    for (size_t i = 0; i < 32; ++i) all = all && masked[10 + block * 32 + i];
    whole += all;
  }
  // Uniform levels alone mask 1 of 33 blocks whole.
  EXPECT_NEAR(whole / 2000.0, 0.25 + 0.75 / 33, 0.05);
}

TEST(Noise, AKnownFirstTokenIsNeverMasked) {
  const LongAnswer answer(320, 32);
  const NoiseOptions options{.full_mask_probability = 1, .known_first_token = true};
  const auto copies = draw_noise(answer.ids, answer.layout, toy::kEnd, options, {1, 1});
  for (size_t i = 10; i < 330; ++i) {
    EXPECT_EQ(copies[0][i], (i - 10) % 32 != 0) << i;
    EXPECT_EQ(copies[1][i], answer.ids[i] == toy::kEnd) << i;
  }
}

TEST(Noise, IsAddressedByItsKey) {
  const LongAnswer answer(200, 32);
  const auto draw = [&](uint64_t seed, uint64_t stream) {
    return draw_noise(answer.ids, answer.layout, toy::kEnd, {}, {seed, stream});
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
  EXPECT_NE(draw(1, 2), draw(2, 2));
}

TEST(Noise, FirstBlocksHaveEveryLength) {
  std::vector<int> counts(9, 0);
  for (uint64_t stream = 0; stream < 1000; ++stream)
    for (const int length : draw_first_blocks(2, 8, {1, stream})) ++counts.at(static_cast<size_t>(length));
  EXPECT_EQ(counts[0], 0);
  for (size_t length = 1; length <= 8; ++length) EXPECT_NEAR(counts[length], 250, 80) << length;
}

}  // namespace
}  // namespace dvlm
