#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "scripted.h"

namespace dvlm {
namespace {

TEST(Speculative, WithNothingAcceptedEmitsTheCorrection) {
  auto model = scripted({7, 7}, 0);
  const auto result = decode(model, make_prompt({7, 7}), speculative(4, 5));
  EXPECT_EQ(result.tokens, count_to(5));
  // Prefill, then draft + verify for each of three tokens, then one token is left: nothing to draft.
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 0, 1, 0, 1, 0, 1, 1}));
  EXPECT_EQ(result.stats.nfe, 7);
  EXPECT_EQ(result.stats.rounds, 4);
  EXPECT_EQ(result.finish, FinishReason::length);
}

TEST(Speculative, WithAllAcceptedEmitsTheBonusToken) {
  auto model = scripted({7}, 100);
  const auto result = decode(model, make_prompt({7}), speculative(4, 9));
  EXPECT_EQ(result.tokens, count_to(9));
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 0, 4, 0, 4}));
  EXPECT_EQ(result.stats.tokens_per_nfe(), 2);  // B / 2
  EXPECT_EQ(result.stats.accepted_per_round(), 4);
  EXPECT_EQ(result.stats.prefill_passes, 1);
}

TEST(Speculative, AcceptsTheMatchingPrefix) {
  auto model = scripted({7}, 2);
  const auto result = decode(model, make_prompt({7}), speculative(8, 7));
  EXPECT_EQ(result.tokens, count_to(7));
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 0, 3, 0, 3}));
}

TEST(Speculative, StopsAtAnEosThatPrefillGives) {
  auto model = scripted({7, kEos}, 100);
  const auto result = decode(model, make_prompt({7}, {kEos}), speculative(4, 9));
  EXPECT_EQ(result.tokens, std::vector<TokenId>{kEos});
  EXPECT_EQ(result.finish, FinishReason::stop);
  EXPECT_EQ(result.stats.nfe, 0);
  EXPECT_EQ(result.committed, 1);
}

TEST(Speculative, StopsAtAnEosInsideTheAcceptedRun) {
  auto model = scripted({7, 1, 2, kEos, 3, 4, 5}, 100);
  const auto result = decode(model, make_prompt({7}, {kEos}), speculative(8, 20));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2, kEos}));
  EXPECT_EQ(result.finish, FinishReason::stop);
  EXPECT_LE(result.committed, 4) << "what follows the stop token is not kept";
  EXPECT_EQ(result.stats.tokens, 3);
}

TEST(Speculative, StopsAtAnEosThatIsTheCorrection) {
  auto model = scripted({7, 1, 2, kEos, 3, 4}, 1);
  const auto result = decode(model, make_prompt({7}, {kEos}), speculative(8, 20));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 2, kEos}));
  EXPECT_EQ(result.emitted_per_pass, (std::vector<int>{1, 0, 2})) << "in the same round";
}

TEST(Speculative, TheFirstOfSeveralStopTokensWins) {
  auto model = scripted({7, 1, 37, kEos, 3}, 100);
  const auto result = decode(model, make_prompt({7}, {kEos, 37}), speculative(8, 20));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, 37}));
}

TEST(Speculative, CutsMaxTokensInsideARoundAndDraftsNoMoreThanThat) {
  for (int max_tokens = 1; max_tokens < 12; ++max_tokens) {
    auto model = scripted({7}, 100);
    model.prompt_tokens = 1;
    const auto result = decode(model, make_prompt({7}), speculative(8, max_tokens));
    EXPECT_EQ(result.tokens, count_to(max_tokens));
    EXPECT_EQ(result.finish, FinishReason::length);
    EXPECT_LE(model.largest_segment, std::min(8, max_tokens - 1));
  }
}

TEST(Speculative, NeverDraftsTheMaskOrPaddingIds) {
  std::vector<TokenId> drafted;
  FakeModel model(
      kVocab,
      [](std::span<const TokenId>) {
        FakeModel::Row row(kVocab, 0.0f);
        row[3] = 1;
        return row;
      },
      [](std::span<const TokenId>, std::span<const TokenId>, int) {
        FakeModel::Row row(kVocab, 0.0f);
        row[3] = 1, row[30] = 5, row[31] = 9, row[kMask] = 10;
        return row;
      });
  auto prompt = make_prompt({7});
  const auto sequence = model.new_sequence(30);
  const auto decoder =
      make_decoder(prompt, *sequence, speculative(4, 9), {.mask_token = 29, .valid_tokens = 30});
  bool saw_draft = false;
  while (decoder->finished() == FinishReason::none) {
    const auto segments = decoder->next();
    if (segments[0].keep && segments[0].tokens.size() > 1) {
      for (const TokenId token : segments[0].tokens.subspan(1)) EXPECT_EQ(token, 3);
      saw_draft = true;
    }
    decoder->take(model.forward(segments));
  }
  EXPECT_TRUE(saw_draft);
}

// What is not a number in a draft decides nothing.
TEST(Speculative, DraftsThatCannotBePickedOnlyEndTheDraft) {
  for (const auto kind : {DecoderKind::speculative, DecoderKind::fused}) {
    FakeModel model(
        kVocab,
        [](std::span<const TokenId> prefix) {
          FakeModel::Row row(kVocab, 0.0f);
          row[prefix.size() % 10] = 8;
          return row;
        },
        [](std::span<const TokenId> prefix, std::span<const TokenId>, int i) {
          FakeModel::Row row(kVocab, i < 2 ? 0.0f : std::nanf(""));
          if (i < 2) row[(prefix.size() + static_cast<size_t>(i) + 1) % 10] = 8;
          return row;
        });
    auto options = speculative(8, 30);
    options.kind = kind;
    const auto result = decode(model, make_prompt({7}), options);
    ASSERT_EQ(result.tokens.size(), 30);
    for (size_t i = 0; i < 30; ++i) EXPECT_EQ(result.tokens[i], static_cast<TokenId>((i + 1) % 10));
    EXPECT_GE(result.stats.accepted_per_round(), 2.5);
  }
}

TEST(Speculative, EmitsTheMaskTokenWhenVerificationSaysSo) {
  auto model = scripted({7, 1, kMask, 2, 3}, 100);
  const auto result = decode(model, make_prompt({7}), speculative(8, 5));
  EXPECT_EQ(result.tokens, (std::vector<TokenId>{1, kMask, 2, 3, 0}));
}

TEST(Speculative, EndsAtTheContextLimit) {
  for (const auto kind : {DecoderKind::autoregressive, DecoderKind::masked_diffusion,
                          DecoderKind::speculative, DecoderKind::fused}) {
    for (int limit = 4; limit < 16; ++limit) {
      auto model = scripted({7, 7, 7}, 100);
      auto options = speculative(4, 100);
      options.kind = kind;
      const DecodeContext context{.mask_token = kMask, .context_limit = limit};
      auto prompt = make_prompt({7, 7, 7});
      const auto sequence = model.new_sequence(limit);
      const auto result = decode(model, prompt, options, context, *sequence);
      EXPECT_EQ(result.tokens, count_to(limit - 3));
      EXPECT_EQ(result.finish, FinishReason::length);
    }
    auto model = scripted({7, 7, 7}, 100);
    auto options = speculative(4, 100);
    options.kind = kind;
    const DecodeContext context{.mask_token = kMask, .context_limit = 3};
    EXPECT_THROW(decode(model, make_prompt({7, 7, 7}), options, context), Error);
  }
}

TEST(Decoder, PrefillsOnlyWhatTheSequenceDoesNotHold) {
  auto model = scripted({}, 0);
  Prompt prompt = make_prompt({1, 36, 36, 2, 36, 3});
  prompt.features = {2, 2, 3, 3};  // of the two pads that remain
  prompt.pads = {2, 4};
  const auto sequence = model.new_sequence(30);
  dynamic_cast<FakeModel::Kv&>(*sequence).tokens = {1, 36};
  const auto decoder = make_decoder(prompt, *sequence, speculative(4, 3), {.mask_token = kMask});
  const auto segments = decoder->next();
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_EQ(std::vector<TokenId>(segments[0].tokens.begin(), segments[0].tokens.end()),
            (std::vector<TokenId>{36, 2, 36, 3}));
  EXPECT_EQ(std::vector<float>(segments[0].features.begin(), segments[0].features.end()),
            (std::vector<float>{2, 2, 3, 3}));
  EXPECT_EQ(segments[0].positions[0], (Position{2, 2, 2}));
  EXPECT_EQ(segments[0].context, 2);
  EXPECT_TRUE(segments[0].keep);
  ASSERT_EQ(segments[0].wanted.size(), 1u);
  EXPECT_EQ(segments[0].wanted[0].row, 3);
}

TEST(Decoder, PrefillsInPieces) {
  auto model = scripted({}, 0);
  Prompt prompt = make_prompt({1, 36, 36, 2, 36, 3, 4});
  prompt.features = {2, 2, 3, 3, 4, 4};
  prompt.pads = {1, 2, 4};
  const auto sequence = model.new_sequence(30);
  const auto decoder = make_decoder(prompt, *sequence, speculative(4, 3), {.mask_token = kMask});
  std::vector<std::vector<float>> features;
  std::vector<size_t> sizes;
  while (!decoder->prefilled()) {
    const auto segments = decoder->next(2);
    ASSERT_EQ(segments.size(), 1u);
    sizes.push_back(segments[0].tokens.size());
    features.emplace_back(segments[0].features.begin(), segments[0].features.end());
    const bool last = sizes.size() == 4;
    EXPECT_EQ(segments[0].wanted.size(), last ? 1u : 0u);
    EXPECT_EQ(decoder->take(model.forward(segments)).size(), last ? 1u : 0u);
    EXPECT_EQ(decoder->record().kind, PassKind::prefill);
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{2, 2, 2, 1}));
  EXPECT_EQ(features, (std::vector<std::vector<float>>{{2, 2}, {3, 3}, {4, 4}, {}}));
  EXPECT_EQ(decoder->stats().prefill_passes, 4);
}

TEST(Decoder, RecordsItsPassesForObservers) {
  const auto next = hashed_next(kVocab, 3);
  FakeModel model(kVocab, next, hashed_draft(kVocab, next, kMask, 0.6));
  auto options = speculative(4, 12);
  options.record = true;
  const auto spec = decode(model, make_prompt({1, 2}), options);
  std::vector<TokenId> text;
  ASSERT_GT(spec.records.size(), 4u);
  EXPECT_EQ(spec.records[0].kind, PassKind::prefill);
  size_t at = 1;  // tokens written
  for (size_t i = 1; i < spec.records.size(); ++i) {
    const PassRecord& pass = spec.records[i];
    const bool drafted = spec.records[i - 1].kind == PassKind::draft;
    EXPECT_EQ(pass.kind, drafted || pass.block.size() == 1 ? PassKind::verify : PassKind::draft);
    ASSERT_FALSE(pass.block.empty());
    EXPECT_EQ(pass.block[0], spec.tokens[at - 1]) << "begins with the newest token";
    if (pass.kind == PassKind::draft) {
      EXPECT_EQ(pass.rows, std::ssize(pass.block) - 1) << "the last token is drafted by the one before it";
      EXPECT_EQ(pass.accepted, 1);
      EXPECT_EQ(pass.emitted, 0);
      continue;
    }
    EXPECT_EQ(pass.emitted, pass.accepted);
    for (int k = 1; k < pass.accepted; ++k) EXPECT_EQ(pass.block[k], spec.tokens[at - 1 + k]);
    at += pass.emitted;
  }
  EXPECT_EQ(at, spec.tokens.size());
  options.kind = DecoderKind::masked_diffusion;
  bool masked = false;
  for (const PassRecord& pass : decode(model, make_prompt({1, 2}), options).records)
    if (pass.kind == PassKind::denoise)
      masked |= std::find(pass.block.begin(), pass.block.end(), kMask) != pass.block.end();
  EXPECT_TRUE(masked) << "a block is seen before it is complete";
}

// Ties: both models prefer several tokens equally; the lowest must be taken by draft and verification alike.
TEST(Speculative, TiesAreBrokenTheSameWayEverywhere) {
  const auto tied = [](std::span<const TokenId> prefix) {
    FakeModel::Row row(kVocab, 0.0f);
    const size_t lowest = hash(prefix, 4) % 20;
    for (size_t i = lowest; i < 25; i += 3) row[i] = 4;
    return row;
  };
  FakeModel ar(kVocab, tied, hashed_draft(kVocab, tied, kMask, 0.7));
  auto options = speculative(8, 60);
  const auto spec = decode(ar, make_prompt({1, 2}), options);
  options.kind = DecoderKind::autoregressive;
  const auto expected = decode(ar, make_prompt({1, 2}), options);
  EXPECT_EQ(spec.tokens, expected.tokens);
  EXPECT_LT(spec.stats.nfe, expected.stats.nfe);
}

// NOLINTNEXTLINE(readability-function-size): each comparison goes on from the settings of the one before
TEST(Speculative, TextIsAutoregressiveTextOnScriptedModels) {
  int compared = 0;
  int fewer_rows = 0;
  double accepted = 0, fused_accepted = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const auto next = hashed_next(kVocab, seed);
    const double accuracy = uniform(seed, 9, 0);
    std::vector<TokenId> tokens;
    for (uint64_t i = 0; i <= seed % 7; ++i)
      tokens.push_back(static_cast<TokenId>(hash({}, seed + i) % kVocab));
    const Prompt prompt = make_prompt(tokens, {kEos}, static_cast<int>(seed % 5) - 3);
    for (const double temperature : {0.0, 0.7, 1.5}) {
      DecodeOptions options = speculative(1, 50);
      options.sampling = {temperature, seed % 2 ? 12 : 0, seed % 3 ? 0.9 : 1.0, seed};
      DecodeContext context{.mask_token = kMask};
      context.valid_tokens = kVocab - static_cast<int>(seed % 2);
      const auto run = [&](DecoderKind kind, int block) {
        FakeModel model(kVocab, next, hashed_draft(kVocab, next, kMask, accuracy));
        model.prompt_tokens = static_cast<int>(tokens.size());
        model.delta = prompt.rope.delta;
        options.kind = kind;
        options.block_size = block;
        return decode(model, prompt, options, context);
      };
      const Decoded expected = run(DecoderKind::autoregressive, 1);
      EXPECT_EQ(expected.stats.nfe, expected.stats.tokens - 1);
      for (const int block : {1, 2, 3, 4, 8, 16, 32, 64}) {
        options.draft_p_min = 0;
        const Decoded got = run(DecoderKind::speculative, block);
        ASSERT_EQ(got.tokens, expected.tokens)
            << "seed " << seed << ", block " << block << ", T " << temperature;
        ASSERT_EQ(got.finish, expected.finish);
        ASSERT_LE(got.committed, static_cast<int>(tokens.size() + got.tokens.size()));
        accepted = std::max(accepted, got.stats.accepted_per_round());
        ++compared;
        options.draft_p_min = 0.2 * uniform(seed, 10, static_cast<uint64_t>(block));
        const Decoded trimmed = run(DecoderKind::speculative, block);
        ASSERT_EQ(trimmed.tokens, expected.tokens) << "seed " << seed << ", p min " << options.draft_p_min;
        ASSERT_EQ(trimmed.finish, expected.finish);
        fewer_rows += trimmed.stats.verified < got.stats.verified;
        const CostCurve costs{{{1, 1.0}, {64, 1 + 6 * uniform(seed, 11, static_cast<uint64_t>(block))}}};
        context.chooser = std::make_shared<BlockChooser>(PassCosts{costs, costs}, block);
        const Decoded automatic = run(DecoderKind::automatic, block);
        ASSERT_EQ(automatic.tokens, expected.tokens) << "auto, seed " << seed << ", block " << block;
        ASSERT_EQ(automatic.finish, expected.finish);
        for (const int branches : {1, 3, block}) {
          options.branches = branches;
          if (branches == 3) options.draft_p_min = 0;
          const Decoded fused = run(DecoderKind::fused, block);
          ASSERT_EQ(fused.tokens, expected.tokens)
              << "fused, seed " << seed << ", block " << block << ", T " << temperature;
          ASSERT_EQ(fused.finish, expected.finish);
          ASSERT_LE(fused.committed, static_cast<int>(tokens.size() + fused.tokens.size()));
          fused_accepted = std::max(fused_accepted, fused.stats.accepted_per_round());
        }
      }
    }
  }
  EXPECT_EQ(compared, 60 * 3 * 8);
  EXPECT_GT(fewer_rows, compared / 10);
  EXPECT_GT(accepted, 4) << "the drafts must sometimes be right for this test to mean anything";
  EXPECT_GT(fused_accepted, 4);
}

// Drawing the draft with verification's random number makes equal distributions agree always.
TEST(Speculative, SampledDraftsFromTheSameDistributionAreAlwaysAccepted) {
  const auto flat = [](std::span<const TokenId>) {
    FakeModel::Row row(kVocab, 0.0f);
    for (int i = 0; i < kVocab; ++i)
      row[i] = static_cast<float>(i % 7) * 0.3f - (i == kMask ? 1000.0f : 0.0f);
    return row;
  };
  FakeModel model(kVocab, flat, [&](std::span<const TokenId> prefix, auto, int) { return flat(prefix); });
  auto options = speculative(8, 65);
  options.sampling = {.temperature = 1, .seed = 3};
  EXPECT_EQ(decode(model, make_prompt({1}), options).stats.accepted_per_round(), 8);
}

TEST(DecodeOptions, NameTheFirstProblem) {
  const auto problem = [](auto change) {
    DecodeOptions options;
    change(options);
    return options.problem();
  };
  EXPECT_EQ(problem([](auto&) {}), "");
  const auto names = [&](const std::string& text, const char* field) {
    EXPECT_EQ(text.find(field), 0u) << text;
  };
  names(problem([](auto& o) { o.max_tokens = -1; }), "max_tokens");
  names(problem([](auto& o) { o.block_size = 0; }), "block_size");
  names(problem([](auto& o) { o.block_size = 1 << 20; }), "block_size");
  names(problem([](auto& o) { o.sub_block = 0; }), "sub_block");
  for (const double p : {-0.1, 1.0, std::nan("")})
    names(problem([p](auto& o) { o.draft_p_min = p; }), "draft_p_min");
  names(problem([](auto& o) { o.threshold = 1.5; }), "threshold");
  names(problem([](auto& o) { o.threshold = std::nan(""); }), "threshold");
  names(problem([](auto& o) { o.sampling.temperature = -1; }), "temperature");
  names(problem([](auto& o) { o.sampling.temperature = std::nan(""); }), "temperature");
  names(problem([](auto& o) { o.sampling.top_k = -1; }), "top_k");
  names(problem([](auto& o) { o.sampling.top_p = 0; }), "top_p");
  const auto context_problem = [](const DecodeContext& context, DecoderKind kind = DecoderKind::speculative) {
    return context.problem(kind);
  };
  EXPECT_EQ(context_problem({.mask_token = 5}), "");
  names(context_problem({.mask_token = 5, .valid_tokens = -1}), "valid_tokens");
  names(context_problem({.mask_token = 5, .context_limit = -1}), "context_limit");
  EXPECT_NE(context_problem({}), "");
  EXPECT_EQ(context_problem({}, DecoderKind::autoregressive), "");
  EXPECT_NE(context_problem({.mask_token = 5}, DecoderKind::automatic), "") << "it needs a chooser";
}

}  // namespace
}  // namespace dvlm
