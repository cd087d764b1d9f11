#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "decode/decoder.h"
#include "fake_model.h"
#include "message_of.h"

namespace dvlm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Logits that give `token` the probability `p` (up to rounding), the rest being shared equally.
FakeModel::Row confident(TokenId token, double p) {
  FakeModel::Row row(kVocab, 0.0f);
  row[token] = static_cast<float>(std::log(p / (1 - p) * (kVocab - 1)));
  return row;
}

// The token at absolute index i is i % 30 with confidence table[step][index in block]; the last line repeats.
struct Table {
  std::vector<std::vector<double>> steps;
  std::vector<std::vector<TokenId>> seen = {};  // the block as each pass saw it
  std::function<TokenId(int)> token = [](int index) { return index % 30; };

  FakeModel model() {
    return FakeModel(
        kVocab,
        [this](std::span<const TokenId> prefix) {
          return confident(token(static_cast<int>(prefix.size())), 0.99);
        },
        [this](std::span<const TokenId> prefix, std::span<const TokenId> block, int i) {
          const std::vector<TokenId> now(block.begin(), block.end());
          if (seen.empty() || seen.back() != now) seen.push_back(now);
          const auto& line = steps[std::min(seen.size(), steps.size()) - 1];
          return confident(token(static_cast<int>(prefix.size()) + i + 1), line[static_cast<size_t>(i) + 1]);
        });
  }
};

DecodeOptions diffusion(int block, int sub_block, int max_tokens, double threshold = 0.9) {
  return {.kind = DecoderKind::masked_diffusion,
          .block_size = block,
          .threshold = threshold,
          .sub_block = sub_block,
          .max_tokens = max_tokens};
}

TEST(MaskedDiffusion, UnmasksWhatIsAboveTheThresholdElseTheSurest) {
  const TokenId m = kMask;
  Table table{{{0, .95, .5, .92}, {0, 0, .6, 0}}};
  auto model = table.model();
  const auto result = decode(model, make_prompt({0}), diffusion(4, 4, 5));
  EXPECT_EQ(table.seen, (std::vector<std::vector<TokenId>>{{1, m, m, m}, {1, 2, m, 4}}));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2, 3, 4, 5}));
  EXPECT_EQ(result.emitted_per_pass,
            (std::vector<int>{1, 1, 2, 1}));  // prefill, two denoising passes, commit
  EXPECT_EQ(result.stats.nfe, 3);
  EXPECT_EQ(result.stats.rounds, 1);
}

TEST(MaskedDiffusion, UnmasksTheLowestOfEquallySureTokens) {
  const TokenId m = kMask;
  Table table{{{0, .3, .6, .6}, {0, .2, 0, .4}, {0, .2, 0, 0}}};
  auto model = table.model();
  const auto result = decode(model, make_prompt({0}), diffusion(4, 4, 5));
  EXPECT_EQ(table.seen, (std::vector<std::vector<TokenId>>{{1, m, m, m}, {1, m, 3, m}, {1, m, 3, 4}}));
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 0, 0, 3, 1}));
}

TEST(MaskedDiffusion, FinishesSubBlocksFromLeftToRight) {
  const TokenId m = kMask;
  Table table{{{0, .1, .99, .99, .99, .99}, {0, .1, .99, .99, .99, .99}}};
  auto model = table.model();
  decode(model, make_prompt({0}), diffusion(6, 2, 7));
  EXPECT_EQ(table.seen,
            (std::vector<std::vector<TokenId>>{{1, m, m, m, m, m}, {1, 2, m, m, m, m}, {1, 2, 3, 4, m, m}}));
}

TEST(MaskedDiffusion, AllowsASubBlockLargerThanOrNotDividingTheBlock) {
  for (const int sub_block : {3, 100}) {
    Table table{{std::vector<double>(5, .99)}};
    auto model = table.model();
    const auto result = decode(model, make_prompt({0}), diffusion(5, sub_block, 11));
    EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
    EXPECT_EQ(result.stats.nfe, sub_block == 3 ? 6 : 4);
  }
}

// Two equal logits: both have a probability of exactly one half.
TEST(MaskedDiffusion, AConfidenceEqualToTheThresholdDoesNotUnmask) {
  const auto half = [](std::span<const TokenId>, std::span<const TokenId>, int) {
    FakeModel::Row row(kVocab, -INFINITY);
    row[4] = row[5] = 1;
    return row;
  };
  const auto next = [](std::span<const TokenId>) { return confident(1, .9); };
  const auto passes = [&](double threshold) {
    FakeModel model(kVocab, next, half);
    const auto result = decode(model, make_prompt({0}), diffusion(4, 4, 5, threshold));
    EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 4, 4, 4, 1}));
    return result.stats.nfe;
  };
  EXPECT_EQ(passes(0.5), 3 + 1) << "one by one, from the left";
  EXPECT_EQ(passes(0.4999), 1 + 1) << "all at once";
}

TEST(MaskedDiffusion, StopsAtAStopTokenAsSoonAsNothingBeforeItIsMasked) {
  const TokenId m = kMask;
  Table table{{{0, .5, .95, .3, .3}, {0, .95, 0, .3, .3}}};
  table.token = [](int index) { return index == 3 ? kEos : index; };
  auto model = table.model();
  const auto result = decode(model, make_prompt({0}, {kEos}), diffusion(5, 5, 20));
  EXPECT_EQ(table.seen, (std::vector<std::vector<TokenId>>{{1, m, m, m, m}, {1, m, kEos, m, m}}));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2, kEos}));
  EXPECT_EQ(result.finish, FinishReason::stop);
  EXPECT_EQ(result.stats.nfe, 2) << "without the rest of the block and its commit";
  EXPECT_EQ(result.committed, 1);
}

TEST(MaskedDiffusion, StopsAtAnEosThatPrefillOrCommitGives) {
  for (const int at : {1, 5}) {
    Table table{{std::vector<double>(5, .99)}};
    table.token = [at](int index) { return index == at ? kEos : index; };
    auto model = table.model();
    const auto result = decode(model, make_prompt({0}, {kEos}), diffusion(4, 4, 20));
    EXPECT_EQ(static_cast<int>(result.tokens.size()), at);
    EXPECT_EQ(result.tokens.back(), kEos);
    EXPECT_EQ(result.stats.nfe, at == 1 ? 0 : 2);
  }
}

TEST(MaskedDiffusion, MaxTokensOnlyCutsTheText) {
  // Confidences that depend on the whole block: a smaller block would give another text.
  const auto next = hashed_next(kVocab, 8);
  const auto draft = [&](std::span<const TokenId> prefix, std::span<const TokenId> block, int i) {
    std::vector<TokenId> all(prefix.begin(), prefix.end());
    all.insert(all.end(), block.begin(), block.end());
    all.push_back(i);
    return next(all);
  };
  const auto run = [&](int max_tokens) {
    FakeModel model(kVocab, next, draft);
    return decode(model, make_prompt({1, 2}), diffusion(8, 4, max_tokens, 0.2));
  };
  const auto longest = run(40).tokens;
  ASSERT_EQ(longest.size(), 40u);
  for (int max_tokens = 1; max_tokens < 40; ++max_tokens)
    EXPECT_EQ(run(max_tokens).tokens, std::vector<TokenId>(longest.begin(), longest.begin() + max_tokens));
}

TEST(MaskedDiffusion, NeverUnmasksToTheMaskAndKeepsOneThatTheModelWrites) {
  const auto next = [](std::span<const TokenId> prefix) {
    return confident(prefix.size() == 1 ? kMask : 3, .9);
  };
  const auto draft = [](std::span<const TokenId>, std::span<const TokenId>, int) {
    FakeModel::Row row(kVocab, 0.0f);
    row[kMask] = 30, row[6] = 2;
    return row;
  };
  FakeModel model(kVocab, next, draft);
  const auto result = decode(model, make_prompt({0}), diffusion(4, 4, 5));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{kMask, 6, 6, 6, 3}));
}

// The prompt 0 | 1 2 | 3 enters in its turns, however few rows a pass may read, and each finished block once
// more; all of them are bidirectional and keep their K/V.
TEST(MaskedDiffusion, WithBlockAttentionTurnsAndBlocksAreCommittedWhole) {
  const auto next = [](std::span<const TokenId> prefix, std::span<const TokenId>, int i) {
    return confident(static_cast<TokenId>((std::ssize(prefix) + i + 1) % 30), .99);
  };
  FakeModel model(kVocab, {}, next);
  model.block_attention = true;
  Prompt prompt = make_prompt({0, 1, 2, 3});
  prompt.turn_ends = {1, 3, 4};
  const DecodeContext context{.mask_token = kMask, .clean_attention = CleanAttention::block};
  const DecodeOptions options = diffusion(3, 3, 7);
  const auto sequence = model.new_sequence(20);
  const auto decoder = make_decoder(prompt, *sequence, options, context);
  std::vector<std::string> passes;
  std::vector<TokenId> text;
  while (decoder->finished() == FinishReason::none) {
    const Segment segment = decoder->next(1)[0];
    passes.push_back(
        fmt::format("{}+{}{}", segment.context, segment.tokens.size(), segment.keep ? " kept" : ""));
    const auto emitted = decoder->take(model.forward({&segment, 1}));
    text.insert(text.end(), emitted.begin(), emitted.end());
  }
  EXPECT_EQ(passes, (std::vector<std::string>{"0+1 kept", "1+2 kept", "3+1 kept",  // turns of the prompt
                                              "4+3", "4+3 kept", "7+3", "7+3 kept"}));
  EXPECT_EQ(text, (std::vector<TokenId>{4, 5, 6, 7, 8, 9, 10}));
}

TEST(MaskedDiffusion, IsTheOnlyDecoderForBlockAttention) {
  FakeModel model(kVocab, {}, {});
  const auto sequence = model.new_sequence(20);
  Prompt prompt = make_prompt({0});
  prompt.turn_ends = {1};
  const DecodeContext context{.mask_token = kMask, .clean_attention = CleanAttention::block};
  for (const DecoderInfo& info : decoders()) {
    const DecodeOptions options{.kind = info.kind};
    if (info.kind == DecoderKind::masked_diffusion) {
      EXPECT_NO_THROW(make_decoder(prompt, *sequence, options, context));
      continue;
    }
    EXPECT_THAT(message_of([&] { make_decoder(prompt, *sequence, options, context); }),
                AllOf(HasSubstr("clean_attention"), HasSubstr("decoder " + std::string(info.name) + " "),
                      HasSubstr("use mdm")));
  }
}

TEST(MaskedDiffusion, SamplesReproduciblyFromItsSeed) {
  const auto next = hashed_next(kVocab, 3);
  const auto run = [&](uint64_t seed, int top_k) {
    FakeModel model(kVocab, next, hashed_draft(kVocab, next, kMask, 0.5));
    auto options = diffusion(8, 4, 40, 0.5);
    options.sampling = {.temperature = 1, .top_k = top_k, .seed = seed};
    return decode(model, make_prompt({1, 2}), options).tokens;
  };
  EXPECT_EQ(run(1, 0), run(1, 0));
  EXPECT_NE(run(1, 0), run(2, 0));
  EXPECT_EQ(run(1, 1), run(2, 1)) << "top_k = 1 leaves nothing to chance";
}

}  // namespace
}  // namespace dvlm
