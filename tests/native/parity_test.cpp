// The native model against transformers' results for small random checkpoints.
#include "parity.h"

#include <cstdio>

#include "checkpoint/lora.h"
#include "core/error.h"
#include "native/native.h"

namespace dvlm {
namespace {

const std::filesystem::path kRoot = std::filesystem::path(DVLM_FIXTURES) / "model";

class Parity : public testing::TestWithParam<parity::Fixture> {};

TEST_P(Parity, positions_and_windows_are_those_of_transformers) {
  parity::expect_index_parity(GetParam(), read_config(GetParam().folder));
}

TEST_P(Parity, the_checkpoint_is_complete) {
  EXPECT_EQ(Checkpoint(GetParam().folder).problems(), std::vector<std::string>{});
}

TEST_P(Parity, f32_results_are_those_of_transformers) {
  const Checkpoint checkpoint(GetParam().folder);
  const auto model = load_native(checkpoint, {.precision = Precision::f32, .threads = 2});
  const parity::Report report = parity::expect_parity(*model, GetParam());
  std::printf("relative errors: features %.1e, logits %.1e, draft %.1e\n", report.features, report.logits,
              report.draft);
}

TEST(ParityInBf16, is_as_close_to_f32_as_transformers_in_bf16) {
  int recorded = 0;
  for (const parity::Fixture& fixture : parity::read_fixtures(kRoot)) {
    if (fixture.bf16_logits.empty()) continue;
    const Checkpoint checkpoint(fixture.folder);
    const auto model = load_native(checkpoint, {.precision = Precision::bf16, .threads = 2});
    const parity::Bf16Report report = parity::expect_bf16_parity(*model, fixture);
    std::printf("relative rms errors: %.3g, transformers' %.3g\n", report.found, report.reference);
    ++recorded;
  }
  EXPECT_GT(recorded, 0) << "no fixture records bfloat16 logits";
}

// Adapters that PEFT made, against what transformers computes with them
// (tools/fixtures/make_lora_fixtures.py).
const std::filesystem::path kAdapted = kRoot / "gqa4-head16-f32";
std::filesystem::path adapter(const char* name) {
  return std::filesystem::path(DVLM_FIXTURES) / "lora" / name;
}

TEST(ParityWithAdapters, merged_ones_give_what_peft_gives) {
  for (const char* name : {"merged", "rslora"}) {
    Checkpoint checkpoint(kAdapted);
    checkpoint.add(Lora(adapter(name)));
    const auto model = load_native(checkpoint, {.precision = Precision::f32, .threads = 2});
    parity::expect_parity(*model, parity::read_fixture(kAdapted, adapter(name) / "case-image.safetensors"));
  }
}

// The draft block is computed with the adapter, beside its verification, too; the prompt, the greedy text and
// the verification without it.
TEST(ParityWithAdapters, one_for_drafts_changes_drafts_alone) {
  const parity::Fixture fixture =
      parity::read_fixture(kAdapted, adapter("drafts") / "case-image.safetensors");
  Checkpoint checkpoint(kAdapted);
  const auto lora = std::make_shared<Lora>(adapter("drafts"));
  lora->use_for_drafts();
  checkpoint.add(*lora);
  const ModelOptions options{.precision = Precision::f32, .threads = 2, .draft_lora = lora};
  parity::expect_parity(*load_native(checkpoint, options), fixture);
  const auto plain = load_native(Checkpoint(kAdapted), {.precision = Precision::f32, .threads = 2});
  parity::Fixture without = fixture;
  without.draft_tokens.clear();
  parity::expect_parity(*plain, without);
}

TEST(ParityWithAdapters, drafts_run_no_vision_tower) {
  const auto lora = std::make_shared<Lora>(adapter("merged"));
  lora->use_for_drafts();
  EXPECT_THROW(load_native(Checkpoint(kAdapted), {.threads = 1, .draft_lora = lora}), Error);
}

// An input may round to another code after sums in another order: an e4m3 one by 1/16 of itself, an integer
// by 1/127 of the largest. Single values move by that much over the root of their number.
TEST(ParityInCodes, results_are_those_of_an_emulation_in_pytorch) {
  for (const char* folder : {"model-fp8", "model-int8"}) {
    const auto fixtures = parity::read_fixtures(std::filesystem::path(DVLM_FIXTURES) / folder);
    EXPECT_FALSE(fixtures.empty());
    for (const parity::Fixture& fixture : fixtures) {
      const Checkpoint checkpoint(fixture.folder);
      EXPECT_EQ(checkpoint.problems(), std::vector<std::string>{});
      const auto model = load_native(checkpoint, {.precision = Precision::f32, .threads = 2});
      const parity::Report report = parity::expect_parity(*model, fixture, {.tolerance = 0.02});
      std::printf("%s/%s: relative errors: features %.1e, logits %.1e, draft %.1e\n", folder,
                  fixture.name.c_str(), report.features, report.logits, report.draft);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Parity, testing::ValuesIn(parity::read_fixtures(kRoot)), parity::test_name);

}  // namespace
}  // namespace dvlm
