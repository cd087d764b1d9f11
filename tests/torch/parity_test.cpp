// The LibTorch model against transformers' results, and against the native model.
#include "parity.h"

#include <cstdio>

#include "core/error.h"
#include "native/native.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"
#include "torch/torch_model.h"
#include "torch_device.h"

namespace dvlm {
namespace {

const std::filesystem::path kRoot = std::filesystem::path(DVLM_FIXTURES) / "model";

class TheDevice : public testing::Environment {
 public:
  void SetUp() override { test::torch_device(); }
};
const auto* const the_device = testing::AddGlobalTestEnvironment(new TheDevice);

class TorchParity : public testing::TestWithParam<parity::Fixture> {};

TEST_P(TorchParity, results_are_those_of_transformers) {
  const auto model = load_torch_model(Checkpoint(GetParam().folder));
  const parity::Report report = parity::expect_parity(*model, GetParam(), {.exact_bits = false});
  std::printf("relative errors: features %.1e, logits %.1e, draft %.1e\n", report.features, report.logits,
              report.draft);
}

INSTANTIATE_TEST_SUITE_P(Models, TorchParity, testing::ValuesIn(parity::read_fixtures(kRoot)),
                         parity::test_name);

std::vector<float> prompt_logits(Model& model, const std::vector<TokenId>& tokens) {
  const std::vector<Position> positions = text_positions(0, static_cast<int>(tokens.size()));
  const std::vector<Wanted> rows = want_logits(static_cast<int>(tokens.size()));
  const auto sequence = model.new_sequence(static_cast<int>(tokens.size()));
  Segment segment;
  segment.sequence = sequence.get();
  segment.tokens = tokens;
  segment.positions = positions;
  segment.keep = true;
  segment.wanted = rows;
  return logits_of(model.forward({&segment, 1}));
}

TEST(TorchModel, agrees_with_the_native_model) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint(make_random_model(small_config(), 7, folder.path()));
  const auto native = load_native(checkpoint, {.precision = Precision::f32, .threads = 2});
  const auto torch = load_torch_model(checkpoint);
  const std::vector<TokenId> tokens = {5, 17, 3, 3, 80, 41, 22, 9, 64, 1, 2};
  EXPECT_LE(parity::relative_error(prompt_logits(*torch, tokens), prompt_logits(*native, tokens)), 1e-5);
}

TEST(TorchModel, a_full_sequence_is_refused) {
  const TemporaryFolder folder;
  const auto model = load_torch_model(Checkpoint(make_random_model(small_config(), 7, folder.path())));
  const std::vector<TokenId> tokens = {1, 2, 3};
  const std::vector<Position> positions(3);
  const auto sequence = model->new_sequence(2);
  Segment segment;
  segment.sequence = sequence.get();
  segment.tokens = tokens;
  segment.positions = positions;
  segment.keep = true;
  EXPECT_THROW(model->forward({&segment, 1}), Error);
}

}  // namespace
}  // namespace dvlm
