// Invariant 1 on the host's layer, or on a card (test_device.h): speculation writes what autoregression
// writes, bit for bit.
#include <gtest/gtest.h>

#include <cstdio>

#include "cuda/model.h"
#include "cuda/test_device.h"
#include "decode/fake_model.h"
#include "model/prompt.h"
#include "parity.h"
#include "random_model.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

constexpr int kTokens = 10;

Prompt random_prompt(const ModelConfig& config, uint64_t seed) {
  Random random(seed, 5);
  Prompt prompt;
  const int64_t length = 1 + random.below(seed % 10 == 0 ? 130 : 20);  // over two pages now and then
  for (int64_t i = 0; i < length; ++i)
    prompt.tokens.push_back(static_cast<TokenId>(random.below(config.text.vocab_size - 10)));
  prompt.rope = rope_index(prompt.tokens, {}, {}, config);
  return prompt;
}

struct Shown {
  int texts = 0, accepted = 0, fused = 0;
};

// Every way of speculation behind one prompt, greedy and sampled.
void compare(Model& model, const Prompt& prompt, uint64_t seed, Shown& shown) {
  const DecodeContext context{.mask_token = model.config().text.vocab_size - 1};
  for (const double temperature : {0.0, 0.9}) {
    DecodeOptions options{.kind = DecoderKind::autoregressive, .max_tokens = kTokens};
    options.sampling = {.temperature = temperature, .top_k = seed % 2 ? 20 : 0, .top_p = 0.95, .seed = seed};
    options.logprobs = 0;
    const Decoded expected = decode(model, prompt, options, context);
    const auto same = [&](const char* what, int block) {
      options.block_size = block;
      const Decoded got = decode(model, prompt, options, context);
      EXPECT_EQ(got.tokens, expected.tokens)
          << what << ", block " << block << ", temperature " << temperature;
      EXPECT_EQ(got.logprobs, expected.logprobs) << what << ": probabilities too, to the bit";
      ++shown.texts;
      shown.accepted += got.stats.tokens - 1 - got.stats.rounds;
      shown.fused += got.stats.fused;
    };
    options.kind = DecoderKind::speculative;
    for (const int block : {4, 8, 16, 32}) same("spec", block);
    options.kind = DecoderKind::fused;
    options.branches = 2;
    same("fused", 8);
  }
}

// A network of few ids, whose drafts are right now and then.
ModelConfig config_of(uint64_t seed) {
  ModelConfig config = small_config();
  config.text.layers = 2;
  config.text.vocab_size = seed % 2 ? 24 : 97;
  const int vocab = config.text.vocab_size;
  config.image_token = vocab - 5, config.video_token = vocab - 4;
  config.vision_start_token = vocab - 3, config.vision_end_token = vocab - 2;
  config.text.tie_word_embeddings = false;
  return config;
}

void expect_lossless(const std::filesystem::path& folder, int prompts, uint64_t seed, Shown& shown,
                     DraftPrecision draft = DraftPrecision::same) {
  const Checkpoint checkpoint(folder);
  const auto model =
      cuda::load_model(checkpoint, test::test_device(seed), {.kv_limit = size_t{16} << 20, .draft = draft});
  EXPECT_EQ(model->weight_memory().draft, draft);
  for (int i = 0; i < prompts; ++i) {
    const uint64_t own = 1000 * seed + static_cast<uint64_t>(i);
    compare(*model, random_prompt(model->config(), own), own, shown);
  }
}

TEST(CardDecoding, speculation_is_lossless_in_bf16) {
  Shown shown;
  for (uint64_t seed = 0; seed < (test::on_card() ? 20u : 10u); ++seed) {
    const TemporaryFolder folder;
    make_random_model(config_of(seed), seed, folder.path());
    expect_lossless(folder.path(), 20, seed, shown);
  }
  std::printf("%d texts, %d drafts accepted, %d fused rounds\n", shown.texts, shown.accepted, shown.fused);
  EXPECT_GT(shown.accepted, 100);
  EXPECT_GT(shown.fused, 100);
}

TEST(CardDecoding, drafts_in_fp8_change_no_text_in_bf16) {
  Shown shown;
  for (uint64_t seed = 20; seed < (test::on_card() ? 40u : 24u); ++seed) {
    const TemporaryFolder folder;
    make_random_model(config_of(seed), seed, folder.path(), DType::bf16);
    expect_lossless(folder.path(), 10, seed, shown, DraftPrecision::fp8);
  }
  std::printf("%d texts, %d drafts accepted\n", shown.texts, shown.accepted);
  EXPECT_GT(shown.accepted, 30);
}

TEST(CardDecoding, speculation_is_lossless_in_fp8) {
  Shown shown;
  std::filesystem::path last;
  for (const parity::Fixture& fixture :
       parity::read_fixtures(std::filesystem::path(DVLM_FIXTURES) / "model-fp8"))
    if (std::exchange(last, fixture.folder) != fixture.folder) expect_lossless(fixture.folder, 100, 7, shown);
  std::printf("%d texts, %d drafts accepted, %d fused rounds\n", shown.texts, shown.accepted, shown.fused);
  EXPECT_GT(shown.texts, 1000);
}

TEST(CardDecoding, dvlm_tiny_writes_alike_in_bf16) {
  Shown shown;
  expect_lossless(std::filesystem::path(DVLM_MODELS) / "dvlm-tiny", test::on_card() ? 100 : 1, 3, shown);
  EXPECT_GE(shown.texts, test::on_card() ? 1000 : 10);
}

}  // namespace
}  // namespace dvlm
