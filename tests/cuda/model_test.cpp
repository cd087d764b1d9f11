// Whole models on the host's layer, or on a card (test_device.h): against transformers' results and against
// themselves.
#include "cuda/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <deque>
#include <random>

#include "cuda/test_device.h"
#include "grouped_model.h"
#include "kernels/quantize_rows.h"
#include "message_of.h"
#include "native/native.h"
#include "parity.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

constexpr size_t kMemory = size_t{1} << 30;

std::unique_ptr<Model> load(const Checkpoint& checkpoint, uint64_t seed = 1) {
  return cuda::load_model(checkpoint, test::test_device(seed), {.kv_limit = size_t{16} << 20});
}

void expect_as_close_as_the_cpu(const parity::Fixture& fixture, double tolerance) {
  const Checkpoint checkpoint(fixture.folder);
  const auto cpu = load_native(checkpoint, {.precision = Precision::bf16, .threads = 1}),
             card = load(checkpoint);
  const parity::Options all{.tolerance = tolerance, .greedy_text = false};
  const parity::Report is = parity::expect_parity(*card, fixture, all),
                       near = parity::expect_parity(*cpu, fixture, all);
  std::printf("relative errors: features %.1e (CPU %.1e), logits %.1e (%.1e), draft %.1e (%.1e)\n",
              is.features, near.features, is.logits, near.logits, is.draft, near.draft);
  EXPECT_LE(is.features, 2.5 * near.features);
  EXPECT_LE(is.logits, 2.5 * near.logits);
  EXPECT_LE(is.draft, 2.5 * near.draft);
}

class CardParity : public testing::TestWithParam<parity::Fixture> {};

// The CPU in bf16 rounds in as many places; here keys, values and weights of attention are rounded, too.
TEST_P(CardParity, results_are_as_close_to_transformers_as_those_of_the_cpu_in_bf16) {
  expect_as_close_as_the_cpu(GetParam(), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Models, CardParity,
                         testing::ValuesIn(parity::read_fixtures(std::filesystem::path(DVLM_FIXTURES) /
                                                                 "model")),
                         parity::test_name);

TEST(CardInBf16, is_as_close_to_f32_as_transformers_in_bf16) {
  int recorded = 0;
  for (const parity::Fixture& fixture :
       parity::read_fixtures(std::filesystem::path(DVLM_FIXTURES) / "model")) {
    if (fixture.bf16_logits.empty()) continue;
    const Checkpoint checkpoint(fixture.folder);
    const parity::Bf16Report report = parity::expect_bf16_parity(*load(checkpoint), fixture);
    std::printf("relative rms errors: %.3g, transformers' %.3g\n", report.found, report.reference);
    ++recorded;
  }
  EXPECT_GT(recorded, 0);
}

// Inputs that are rounded to bf16 first are now and then rounded to another e4m3 number: on the CPU as here.
TEST(CardInFp8, results_are_as_close_to_an_emulation_as_those_of_the_cpu_in_bf16) {
  for (const parity::Fixture& fixture :
       parity::read_fixtures(std::filesystem::path(DVLM_FIXTURES) / "model-fp8"))
    expect_as_close_as_the_cpu(fixture, 0.5);
}

// How layers are cut depends on how many rows they run with, which in the merger are a quarter.
TEST(Card, sees_pictures_of_every_small_size) {
  const Checkpoint checkpoint(std::filesystem::path(DVLM_MODELS) / "dvlm-tiny");
  const auto card = load(checkpoint),
             cpu = load_native(checkpoint, {.precision = Precision::bf16, .threads = 1});
  std::mt19937 random(1);
  for (const Grid grid : {Grid{1, 2, 2}, Grid{1, 4, 2}, Grid{1, 4, 4}, Grid{1, 4, 8}, Grid{1, 8, 8},
                          Grid{1, 10, 8}, Grid{2, 6, 6}, Grid{1, 16, 6}}) {
    Patches patches;
    patches.grid = grid;
    for (int64_t i = 0; i < grid.patches() * checkpoint.config().vision.patch_elements(); ++i)
      patches.values.push_back(std::normal_distribution<float>()(random));
    const ImageFeatures is = card->encode_image(patches), should = cpu->encode_image(patches);
    EXPECT_LT(parity::relative_error(is.values, should.values), 0.02)
        << grid.t << "x" << grid.h << "x" << grid.w;
  }
}

// A checkpoint whose layers of the text tower are those of `wide` rounded to e4m3; `memory` holds them.
Checkpoint rounded_to_e4m3(const Checkpoint& wide, std::deque<std::vector<std::byte>>& memory) {
  std::map<std::string, TensorView> tensors = wide.tensors();
  for (const auto& [name, view] : wide.tensors()) {
    if (!name.starts_with("model.layers.") || view.shape.size() != 2) continue;
    const auto rows = static_cast<size_t>(view.shape[0]), columns = static_cast<size_t>(view.shape[1]);
    std::vector<std::byte>&codes = memory.emplace_back(rows * columns),
    &scales = memory.emplace_back(rows * sizeof(float));
    std::vector<float> row(columns);
    for (size_t r = 0; r < rows; ++r) {
      copy_to_float(view, static_cast<int64_t>(r * columns), view.shape[1], row.data());
      const float scale = quantize_e4m3(row, reinterpret_cast<e4m3*>(codes.data() + r * columns));
      std::memcpy(scales.data() + r * sizeof scale, &scale, sizeof scale);
    }
    tensors[name] = {DType::f8_e4m3, view.shape, codes.data()};
    tensors[name + "_scale"] = {DType::f32, {view.shape[0]}, scales.data()};
  }
  return {wide.config(), tensors};
}

TEST(Card, drafts_in_fp8_as_the_same_layers_of_an_fp8_checkpoint_and_leaves_other_passes_alone) {
  const TemporaryFolder folder;
  const Checkpoint wide(make_random_model(small_config(), 1, folder.path(), DType::bf16));
  std::deque<std::vector<std::byte>> memory;
  const Checkpoint rounded = rounded_to_e4m3(wide, memory);
  const auto load_with = [](const Checkpoint& checkpoint, DraftPrecision draft) {
    return cuda::load_model(checkpoint, test::test_device(1), {.kv_limit = size_t{16} << 20, .draft = draft});
  };
  const auto drafting = load_with(wide, DraftPrecision::fp8), plain = load_with(wide, DraftPrecision::same),
             fp8 = load_with(rounded, DraftPrecision::fp8);
  const auto logits = [](Model& model, bool approximate, bool keep) {
    const auto sequence = model.new_sequence(40);
    const std::vector<TokenId> tokens = {3, 14, 15, 92 - 65, 35, 8, 9, 79, 32};
    std::vector<Position> positions;
    for (int i = 0; i < std::ssize(tokens); ++i) positions.push_back({i, i, i});
    const std::vector<Wanted> wanted =
        want_rows(0, static_cast<int>(tokens.size()), {.choice = Choice::logits});
    const Segment segment{.sequence = sequence.get(),
                          .tokens = tokens,
                          .positions = positions,
                          .features = {},
                          .keep = keep,
                          .approximate = approximate,
                          .wanted = wanted};
    return logits_of(model.forward({&segment, 1}));
  };
  const std::vector<float> exact = logits(*plain, false, true), draft = logits(*drafting, true, false);
  EXPECT_EQ(logits(*drafting, false, true), exact);
  EXPECT_EQ(logits(*drafting, true, true), exact) << "what is kept is exact";
  EXPECT_NE(draft, exact);
  EXPECT_EQ(draft, logits(*fp8, false, true));
  EXPECT_EQ(drafting->weight_memory().draft, DraftPrecision::fp8);
  EXPECT_GT(drafting->weight_memory().drafts, 0u);
  EXPECT_EQ(fp8->weight_memory().drafts, 0u) << "it drafts with what it has";
}

// A prompt in two turns and a block, all kept, then a draft behind them.
TEST(Card, with_block_attention_keeps_what_the_cpu_keeps) {
  const TemporaryFolder folder;
  ModelConfig config = small_config();
  config.clean_attention = CleanAttention::block;
  make_random_model(config, 1, folder.path());
  const Checkpoint checkpoint(folder.path());
  const auto rows_of = [&](Model& model, Visibility kept) {
    const auto sequence = model.new_sequence(256);
    std::mt19937 random(5);
    std::vector<float> all;
    int at = 0;
    for (const int size : {90, 37, 8, 8}) {
      std::vector<TokenId> tokens(static_cast<size_t>(size));
      for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 90);
      const std::vector<Position> positions = text_positions(at, size);
      const std::vector<Wanted> wanted = want_logits(size);
      const bool keep = at < 135;
      const Segment segment{.sequence = sequence.get(),
                            .tokens = tokens,
                            .positions = positions,
                            .features = {},
                            .visibility = keep ? kept : Visibility::bidirectional,
                            .context = at,
                            .keep = keep,
                            .wanted = wanted};
      all = logits_of(model.forward({&segment, 1}));
      at += size;
    }
    return all;
  };
  const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += std::pow(a[i] - b[i], 2), size += std::pow(a[i], 2);
    return std::sqrt(sum / size);
  };
  const auto cpu = load_native(checkpoint, {.precision = Precision::f32, .threads = 1}),
             card = load(checkpoint);
  const std::vector<float> right = rows_of(*cpu, Visibility::bidirectional);
  const double near = distance(right, rows_of(*card, Visibility::bidirectional)),
               causal = distance(right, rows_of(*cpu, Visibility::causal));
  EXPECT_LT(near, 0.05) << "BF16 against F32";
  EXPECT_GT(causal, 3 * near) << "and what would be kept causally is something else";
}

class GroupedOnCard : public testing::Test, protected GroupedFolders {
 protected:
  GroupedOnCard() : GroupedFolders(64, Zeros::random, GroupedFormat::Tool::gptq) {}
};

TEST_F(GroupedOnCard, becomes_bf16_as_the_numbers_that_it_says) {
  const Checkpoint packed(packed_.path()), wide(wide_.path());
  EXPECT_EQ(few_logits(*load(packed)), few_logits(*load(wide)));
  const ModelOptions drafts{.draft = DraftPrecision::fp8};
  EXPECT_EQ(cuda::least_bytes(packed, drafts), cuda::least_bytes(wide, drafts));
  EXPECT_EQ(cuda::load_model(packed, test::test_device(), drafts)->weight_memory().draft,
            DraftPrecision::fp8);
}

TEST(Card, refuses_what_it_does_not_run) {
  const TemporaryFolder folder;
  make_random_model(small_config(), 1, folder.path());
  const Checkpoint checkpoint(folder.path());
  const auto message = [&](const ModelOptions& options, size_t memory = kMemory) {
    return message_of([&] { cuda::load_model(checkpoint, cuda::host_device(memory), options); });
  };
  EXPECT_NE(message({.precision = Precision::f32}).find("--device cpu"), std::string::npos);
  EXPECT_NE(message({.draft = DraftPrecision::int4}).find("--draft-precision int8 and int4"),
            std::string::npos);
  EXPECT_NE(message({}, 100'000).find("the model"), std::string::npos);
  EXPECT_NE(message({.kv_limit = 1000}).find("--kv-memory"), std::string::npos);
  EXPECT_NE(message({.packed_file = "weights.bin"}).find("--packed"), std::string::npos);
}

TEST(Card, loads_in_what_it_is_said_to_need_whatever_keys_and_values_may_have) {
  const TemporaryFolder folder;
  make_random_model(small_config(), 1, folder.path());
  const Checkpoint checkpoint(folder.path());
  for (const DraftPrecision draft : {DraftPrecision::same, DraftPrecision::fp8}) {
    const ModelOptions options{.kv_limit = size_t{1} << 40, .draft = draft};
    const size_t needed = cuda::least_bytes(checkpoint, options);
    const auto model = cuda::load_model(checkpoint, cuda::host_device(needed), options);
    EXPECT_LT(model->kv_memory().limit, needed);
    EXPECT_TRUE(model->new_sequence(4096));
  }
}

}  // namespace
}  // namespace dvlm
