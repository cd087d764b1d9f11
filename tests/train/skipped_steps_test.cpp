// Steps whose loss is not finite change nothing and are counted.
#include <gmock/gmock.h>

#include <cmath>

#include "checkpoint/safetensors.h"
#include "core/files.h"
#include "run_fixture.h"
#include "torch/network.h"
#include "train/curve.h"
#include "train/state.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

// Gives the model weights which are finite, and under which whatever sees a picture is not.
void spoil_pictures(const fs::path& model) {
  torch::manual_seed(1);
  const Network network(read_config(model));
  NamedTensors weights = network->named_weights();
  weights.at("visual.merger.mlp.0.bias").fill_(10);
  weights.at("visual.merger.mlp.2.weight").fill_(3e38);
  save_checkpoint(model, network, DType::f32);
}

// One picture in six records, three times.
TEST(SkippedSteps, AreCountedAndTheRunGoesOnExactlyBehindThem) {
  const toy::RunFixture fixture(1);
  spoil_pictures(fixture.folder / "model");
  TrainConfig config = fixture.config("ar", "whole");
  for (int i = 0; i < 5; ++i)
    std::ofstream(config.data[0].path, std::ios::app)
        << R"({"messages": [{"role": "user", "content": "What is )" << i
        << R"(?"}, {"role": "assistant", "content": "A number."}]})"
        << "\n";
  config.steps = 18, config.batch_size = 1, config.freeze = {"visual.*"};
  const auto check = [](const TrainConfig& run, const TrainResult& result) {
    EXPECT_EQ(result.step, 18);
    EXPECT_TRUE(std::isfinite(result.loss));
    const auto log = read_log(fs::path(run.output) / "train.jsonl", 100);
    ASSERT_EQ(log.size(), 15u);
    for (const LogPoint& point : log) EXPECT_TRUE(std::isfinite(point.loss + point.gradient_norm));
    EXPECT_LT(log.back().loss, log.front().loss);
    EXPECT_GE(log.back().skipped, 2);
    const RunState state = read_run_state(Safetensors(fs::path(run.output) / kStateFile), "state");
    EXPECT_EQ(state.skipped, 3);
    EXPECT_EQ(state.applied, 15);
  };
  check(config, train(config, false));
  TrainConfig halves = config;
  halves.output = (fixture.folder / "halves").string();
  EXPECT_EQ(train(halves, false, 9).step, 9);
  check(halves, train(halves, true));
  EXPECT_EQ(read_file(fs::path(halves.output) / "model.safetensors"),
            read_file(fs::path(config.output) / "model.safetensors"));
}

// Without a good step between them they end the run: weights that are beyond use stay so.
TEST(SkippedSteps, OneAfterTheOtherEndTheRun) {
  const toy::RunFixture fixture;
  spoil_pictures(fixture.folder / "model");
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 18, config.freeze = {"visual.*"};
  EXPECT_THAT(toy::error_of([&] { train(config, false); }),
              testing::HasSubstr("infinite or NaN in 4 steps one after the other"));
}

}  // namespace
}  // namespace dvlm
