// What a run measures on records that it does not learn from, and which of its models it keeps.
#include "train/validation.h"

#include <gmock/gmock.h>

#include "core/files.h"
#include "run_fixture.h"
#include "train/checkpointer.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::vector<nlohmann::json> out;
  read_lines(path, [&](int, std::string_view line) {
    out.push_back(nlohmann::json::parse(line));
    return true;
  });
  return out;
}

// The fixture's answers are learnt by heart, so that what was learnt is what is validated.
TrainConfig validated(const toy::RunFixture& fixture, const std::string& stage) {
  TrainConfig config = fixture.config(stage, "out-" + stage);
  config.validation = config.data;
  config.batch_size = 5, config.learning_rate = 1e-2, config.ema_decay = 0;
  return config;
}

TEST(Validation, LossFallsAndDraftsGetRightAsTheModelLearns) {
  const toy::RunFixture fixture;
  TrainConfig config = validated(fixture, "convert");
  config.steps = 150;
  train(config, false, 1);
  train(config, true);
  const auto points = lines_of(fs::path(config.output) / kValidationLog);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0]["step"], 1);
  EXPECT_EQ(points[1]["step"], 150);
  EXPECT_EQ(points[1]["samples"], 10);
  EXPECT_LT(points[1]["noisy"], 0.5 * points[0]["noisy"].get<double>());
  EXPECT_LT(points[1]["clean"], 0.25 * points[0]["clean"].get<double>());
  EXPECT_DOUBLE_EQ(points[1]["loss"].get<double>(),
                   0.5 * points[1]["noisy"].get<double>() + 0.5 * points[1]["clean"].get<double>());
  EXPECT_EQ(points[1]["drafts"], points[0]["drafts"]);  // of the same blocks
  EXPECT_GT(points[1]["right"], 0.6 * points[1]["drafts"].get<double>());
  EXPECT_LT(points[0]["right"], 0.3 * points[0]["drafts"].get<double>());
}

TEST(Validation, NextTokenTrainingHasNoDrafts) {
  const toy::RunFixture fixture;
  TrainConfig config = validated(fixture, "ar");
  config.steps = 1, config.validation_samples = 3;
  train(config, false);
  const auto points = lines_of(fs::path(config.output) / kValidationLog);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0]["samples"], 3);
  EXPECT_EQ(points[0]["noisy"], 0);
  EXPECT_EQ(points[0]["loss"], points[0]["clean"]);
  EXPECT_FALSE(points[0].contains("drafts"));
}

// Learning at such a rate makes the model worse: the first one stays the best.
TEST(Validation, TheBestModelAndTheNewestAreKept) {
  const toy::RunFixture fixture;
  TrainConfig config = validated(fixture, "ar");
  config.steps = 8, config.keep_checkpoints = 2, config.learning_rate = 3, config.warmup_ratio = 0.2;
  for (const int stop : {1, 3, 2}) train(config, stop != 1, stop);
  const fs::path output = config.output;
  std::vector<std::string> kept;
  for (const auto& entry : fs::directory_iterator(output))
    if (entry.is_directory()) kept.push_back(entry.path().filename());
  EXPECT_THAT(kept, testing::UnorderedElementsAre("best", "step-4", "step-6"));
  const auto points = lines_of(output / kValidationLog);
  ASSERT_EQ(points.size(), 3u);
  ASSERT_GT(points[2]["loss"], points[0]["loss"]);
  EXPECT_EQ(read_file(output / "step-6/model.safetensors"), read_file(output / "model.safetensors"));
  EXPECT_NE(read_file(output / "best/model.safetensors"), read_file(output / "model.safetensors"));
  for (const std::string& name : kept) {
    EXPECT_TRUE(Checkpoint(output / name).problems().empty()) << name;
    EXPECT_TRUE(fs::exists(output / name / "tokenizer.json")) << name;
    EXPECT_FALSE(fs::exists(output / name / "training.safetensors")) << name;
  }
}

TEST(Validation, RecordsThatCannotBeReadAreLeftOutAndNoneAtAllIsAnError) {
  const toy::RunFixture fixture;
  TrainConfig config = validated(fixture, "ar");
  config.steps = 1;
  const fs::path bad = fixture.folder / "bad.jsonl";
  toy::write_text(bad, "{\"messages\": []}\n");
  config.validation = {DataSource{bad.string()}};
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("no record of 'validation'"));
}

TEST(Validation, RecordsThatAreGoneAreNoMeasure) {
  const toy::RunFixture fixture(3);
  const TrainConfig config = validated(fixture, "ar");
  const ModelConfig model = read_config(config.model);
  const Tokenizer tokenizer(config.model);
  const Validation validation(config,
                              SampleContext{tokenizer, model, answer_markers(tokenizer), config.max_length});
  Network network(model);
  const auto measure = [&](int64_t step) {
    return validation.measure(network, stream_tokens(tokenizer, model), torch::kCPU, Ranks(), step);
  };
  EXPECT_EQ(measure(1).value().samples, 3);
  fs::remove_all(fixture.folder / "data/pictures");
  EXPECT_FALSE(measure(2));
}

TEST(Validation, ACheckpointWithoutAMeasureIsNotTheBest) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.ema_decay = 0;
  const fs::path output = config.output;
  fs::create_directories(output);
  Network network(read_config(config.model));
  Optimizer optimizer(network, config);
  const Ranks ranks;
  std::optional<ValidationPoint> measured;
  Checkpointer checkpoints(
      config, ranks, network, optimizer, [&](int64_t) { return measured; }, 0);
  const auto checkpoint = [&](int64_t step) {
    RunState run;
    run.step = step;
    checkpoints.begin(run, {});
    checkpoints.end();
  };
  checkpoint(1);
  EXPECT_TRUE(fs::exists(output / "model.safetensors"));
  EXPECT_FALSE(fs::exists(output / "best"));
  EXPECT_FALSE(fs::exists(output / kValidationLog));
  measured = ValidationPoint{.step = 2, .samples = 3, .clean = 5};
  checkpoint(2);
  EXPECT_TRUE(fs::exists(output / "best/model.safetensors"));
  EXPECT_EQ(lines_of(output / kValidationLog).size(), 1u);
}

}  // namespace
}  // namespace dvlm
