// What --plan says of the published shapes (docs/reference.md).
#include "train/plan.h"

#include <gtest/gtest.h>

#include "toy.h"

namespace dvlm {
namespace {

ModelConfig qwen(int vocab, int hidden, int inner, int layers, int heads, int kv_heads, bool tied) {
  ModelConfig config;
  config.text = {.vocab_size = vocab,
                 .hidden_size = hidden,
                 .intermediate_size = inner,
                 .layers = layers,
                 .heads = heads,
                 .kv_heads = kv_heads,
                 .head_dim = 128,
                 .mrope_section = {16, 24, 24},
                 .max_positions = 128000,
                 .tie_word_embeddings = tied};
  config.vision = {.depth = 32,
                   .hidden_size = 1280,
                   .intermediate_size = 3420,
                   .heads = 16,
                   .out_hidden_size = hidden,
                   .full_attention_blocks = {7, 15, 23, 31}};
  return config;
}
const ModelConfig k3b = qwen(151936, 2048, 11008, 36, 16, 2, true),
                  k7b = qwen(152064, 3584, 18944, 28, 28, 4, false);

TrainConfig conversion() {
  TrainConfig config;
  config.stage = "convert", config.weight_dtype = "bf16", config.recompute = true;
  return config;
}
// An ordinary sample of LLaVA: a picture of 640 x 480 and 350 tokens.
constexpr PassSize kLlava{.rows = 2176, .length = 2176, .patches = 1564, .scored = 1200};

double part(const RunPlan& plan, const std::string& name) {
  for (const MemoryPart& one : plan.memory)
    if (one.name == name) return one.bytes;
  return 0;
}

TEST(Plan, CountsTheParametersOfPublishedModels) {
  EXPECT_EQ(plan_run(k3b, conversion(), kLlava, 1, true).parameters, 3'754'622'976);
  EXPECT_EQ(plan_run(k7b, conversion(), kLlava, 1, true).parameters, 8'292'166'656);
}

TEST(Plan, StateIsShared) {
  const RunPlan alone = plan_run(k3b, conversion(), kLlava, 1, true),
                eight = plan_run(k3b, conversion(), kLlava, 8, true);
  EXPECT_DOUBLE_EQ(part(eight, "moments"), part(alone, "moments") / 8);
  EXPECT_DOUBLE_EQ(part(eight, "gradients"), part(alone, "gradients") / 8);
  EXPECT_DOUBLE_EQ(part(eight, "weights"), part(alone, "weights"));
  EXPECT_DOUBLE_EQ(part(alone, "moments"), 8.0 * 3'754'622'976);
  EXPECT_DOUBLE_EQ(alone.state_bytes, 12.0 * 3'754'622'976);
}

TEST(Plan, SaysWhatFitsWhere) {
  EXPECT_LT(plan_run(k3b, conversion(), kLlava, 1, true).bytes(), 80e9);
  EXPECT_GT(plan_run(k7b, conversion(), kLlava, 1, true).bytes(), 80e9);
  EXPECT_LT(plan_run(k7b, conversion(), kLlava, 8, true).bytes(), 80e9);
  TrainConfig lora = conversion();
  lora.lora.rank = 16;
  EXPECT_LT(plan_run(k3b, lora, kLlava, 1, true).bytes(), 24e9);
  TrainConfig plain = conversion();
  plain.weight_dtype = "f32", plain.recompute = false;
  EXPECT_GT(plan_run(k3b, plain, kLlava, 1, true).bytes(), 80e9);
}

TEST(Plan, CountsFloatsThatAModelIsLoadedAs) {
  TrainConfig lora = conversion();
  lora.lora.rank = 16;
  const RunPlan plan = plan_run(k3b, lora, {}, 8, false);
  EXPECT_DOUBLE_EQ(plan.loading_bytes(), 4.0 * 3'754'622'976);
  EXPECT_GT(plan.loading_bytes(), plan.bytes()) << "BF16 weights and little else";
}

TEST(Plan, CountsWhatTrains) {
  TrainConfig config = conversion();
  config.freeze = {"visual.*"};
  const RunPlan frozen = plan_run(k3b, config, kLlava, 1, true);
  constexpr int64_t kWidth = 1280, kInner = 3420, kMerged = 4 * kWidth, kHidden = 2048;
  constexpr int64_t kBlock = 2 * kWidth + (3 * kWidth + 1 + kWidth) * kWidth + 3 * kWidth +
                             3 * kInner * kWidth + 2 * kInner + kWidth;
  EXPECT_EQ(frozen.parameters - frozen.trained,
            1176 * kWidth + 32 * kBlock + kWidth + (kMerged + 1) * kMerged + (kMerged + 1) * kHidden);
  // Adapters of one layer of the toy network, and the mask token's row.
  TrainConfig lora = conversion();
  lora.lora = {.rank = 3, .targets = {"model.layers.0.self_attn.q_proj"}};
  const ModelConfig toy = toy::small_config();
  EXPECT_EQ(plan_run(toy, lora, {}, 1, false).trained, 3 * (32 + 32) + 32);
}

}  // namespace
}  // namespace dvlm
