#include "train/trainer.h"

#include <gmock/gmock.h>

#include <limits>

#include "checkpoint/json.h"
#include "checkpoint/safetensors.h"
#include "core/files.h"
#include "run_fixture.h"
#include "torch/network.h"
#include "train/curve.h"
#include "train/state.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Names of state tensors whose bytes differ.
std::vector<std::string> differences(const fs::path& a, const fs::path& b) {
  const Safetensors one(a / kStateFile), two(b / kStateFile);
  std::vector<std::string> names;
  if (one.tensors().size() != two.tensors().size()) names.push_back("(count)");
  for (const auto& [name, view] : one.tensors()) {
    const auto found = two.tensors().find(name);
    if (found == two.tensors().end() || view.bytes() != found->second.bytes() ||
        std::memcmp(view.data, found->second.data, view.bytes()) != 0)
      names.push_back(name);
  }
  return names;
}

class Resume : public testing::TestWithParam<const char*> {};

TEST_P(Resume, SixStepsEqualThreeAndThree) {
  const toy::RunFixture fixture;
  TrainConfig straight = fixture.config(GetParam(), "straight"),
              halves = fixture.config(GetParam(), "halves");
  straight.threads = halves.threads = 2;
  straight.accumulation = halves.accumulation = 2;  // 10 samples: the second half is in the second epoch
  const TrainResult whole = train(straight, false);
  EXPECT_EQ(whole.step, 6);
  EXPECT_EQ(whole.progress, 1);
  const TrainResult first = train(halves, false, 3);
  EXPECT_EQ(first.step, 3);
  EXPECT_EQ(first.progress, 0.5);
  const TrainResult second = train(halves, true);
  EXPECT_EQ(second.step, 6);
  EXPECT_EQ(second.loss, whole.loss);
  EXPECT_THAT(differences(straight.output, halves.output), testing::IsEmpty());
  EXPECT_EQ(read_file(fs::path(straight.output) / "model.safetensors"),
            read_file(fs::path(halves.output) / "model.safetensors"));
  const auto log = read_log(fs::path(halves.output) / "train.jsonl", 100);
  ASSERT_EQ(log.size(), 6u);
  EXPECT_EQ(log[5].step, 6);
}

INSTANTIATE_TEST_SUITE_P(Stages, Resume, testing::Values("ar", "convert"));

TEST(Training, LearnsItsData) {
  const toy::RunFixture fixture;
  for (const char* stage : {"ar", "convert"}) {
    TrainConfig config = fixture.config(stage, std::string("learn-") + stage);
    config.steps = 120, config.learning_rate = 1e-2, config.batch_size = 5;
    train(config, false);
    const auto log = read_log(fs::path(config.output) / "train.jsonl", 1000);
    ASSERT_EQ(log.size(), 120u);
    EXPECT_LT(log.back().clean, 0.25 * log.front().clean) << stage;
    if (config.stage == "convert") {
      EXPECT_LT(log.back().noisy, 0.5 * log.front().noisy);
      EXPECT_EQ(log.front().block_size, 2);
      EXPECT_EQ(log.back().block_size, 8);
    }
  }
}

TEST(Training, WithBlockAttentionTheModelSaysSoAndLearns) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("convert", "block");
  config.clean_attention = "block";
  config.steps = 120, config.learning_rate = 1e-2, config.batch_size = 5;
  train(config, false);
  const auto log = read_log(fs::path(config.output) / "train.jsonl", 1000);
  EXPECT_LT(log.back().noisy, 0.5 * log.front().noisy);
  EXPECT_LT(log.back().clean, 0.5 * log.front().clean);
  EXPECT_EQ(read_config(config.output).clean_attention, CleanAttention::block);

  config.clean_attention = "causal";
  EXPECT_THAT(toy::error_of([&] { train(config, true); }), HasSubstr("clean_attention"));

  TrainConfig next = fixture.config("convert", "causal");  // from there: what is trained is what is saved
  next.model = config.output, next.steps = 1;
  train(next, false);
  EXPECT_EQ(read_config(next.output).clean_attention, CleanAttention::causal);
  EXPECT_EQ(read_json(fs::path(next.output) / "config.json").count("clean_attention"), 0u);
}

TEST(Training, WithoutAutoTruncationItLearns) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("convert", "across");
  config.auto_truncation = false;
  config.steps = 60, config.learning_rate = 1e-2, config.batch_size = 5;
  train(config, false);
  const auto log = read_log(fs::path(config.output) / "train.jsonl", 1000);
  EXPECT_LT(log.back().noisy, 0.5 * log.front().noisy);
  EXPECT_EQ(read_config(config.output).clean_attention, CleanAttention::causal);
}

TEST(Training, LeavesACompleteModelFolder) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("convert", "out");
  config.steps = 2;
  train(config, false);
  const fs::path out = config.output;
  for (const char* name :
       {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "preprocessor_config.json", "model.safetensors", "training.safetensors", "train.jsonl", "loss.svg"})
    EXPECT_TRUE(fs::exists(out / name)) << name;
  const Checkpoint checkpoint(out);
  EXPECT_THAT(checkpoint.problems(), testing::IsEmpty());
  EXPECT_EQ(checkpoint.config().block_size, 8);
  for (const auto& entry : fs::directory_iterator(out)) EXPECT_NE(entry.path().extension(), ".partial");
  EXPECT_THAT(read_file(out / "loss.svg"), HasSubstr("</svg>"));
  EXPECT_EQ(read_file(out / "tokenizer.json"), read_file(fs::path(config.model) / "tokenizer.json"));
}

TEST(Training, SavesTheAverageOfTheWeightsAndContinuesFromThem) {
  const toy::RunFixture fixture;
  const TrainConfig first = fixture.config("ar", "first");
  train(first, false);
  const Safetensors state(fs::path(first.output) / kStateFile);
  Network network(read_config(first.output));
  network->load(Checkpoint(first.output));
  std::vector<float> average(static_cast<size_t>(state.tensors().at("ema/text.norm").elements()));
  copy_to_float(state.tensors().at("ema/text.norm"), 0, static_cast<int64_t>(average.size()), average.data());
  const torch::Tensor loaded = network->named_parameters()["text.norm"];
  for (size_t i = 0; i < average.size(); ++i)
    EXPECT_EQ(loaded[static_cast<int64_t>(i)].item<float>(), average[i]);

  TrainConfig next = fixture.config("convert", "next");
  next.model = first.output;
  next.learning_rate = 1e-12, next.weight_decay = 0, next.ema_decay = 0, next.steps = 1;
  train(next, false);
  Network converted(read_config(next.output));
  converted->load(Checkpoint(next.output));
  EXPECT_TRUE(converted->named_parameters()["text.embedding"].allclose(
      network->named_parameters()["text.embedding"]));
}

// Updates that BF16 cannot hold are kept by the optimiser.
TEST(Training, WeightsInBf16LearnAsThoseInFloat) {
  const toy::RunFixture fixture;
  std::vector<double> losses;
  for (const char* type : {"f32", "bf16"}) {
    TrainConfig config = fixture.config("ar", std::string("out-") + type);
    config.weight_dtype = type, config.steps = 150, config.learning_rate = 1e-3, config.ema_decay = 0;
    losses.push_back(train(config, false).loss);
    const Safetensors state(fs::path(config.output) / kStateFile),
        saved(fs::path(config.output) / "model.safetensors");
    EXPECT_EQ(state.tensors().at("weight/text.embedding").type, DType::f32);
    if (config.weight_dtype == "f32") continue;
    // What is saved is what the network computed with: the rounded weights.
    std::vector<float> kept(static_cast<size_t>(state.tensors().at("weight/text.embedding").elements())),
        out = kept;
    copy_to_float(state.tensors().at("weight/text.embedding"), 0, std::ssize(kept), kept.data());
    copy_to_float(saved.tensors().at("model.language_model.embed_tokens.weight"), 0, std::ssize(out),
                  out.data());
    int rounded = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      ASSERT_EQ(out[i], round_to_bf16(kept[i]));
      rounded += out[i] != kept[i];
    }
    EXPECT_GT(rounded, 0);
  }
  EXPECT_NEAR(losses[1], losses[0], 0.1 * losses[0]);
}

TEST(Training, FrozenWeightsStay) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.freeze = {"visual.*"};
  train(config, false);
  Network trained(read_config(config.output)), start{nullptr};
  trained->load(Checkpoint(config.output));
  torch::manual_seed(config.seed);
  start = Network(read_config(config.model));
  const auto before = start->named_weights(), after = trained->named_weights();
  for (const auto& [name, weight] : before)
    EXPECT_EQ(weight.equal(after.at(name)), name.starts_with("visual.")) << name;
}

TEST(Training, ResumingKeepsFrozenWeights) {
  const toy::RunFixture fixture;
  const TrainConfig first = fixture.config("ar", "first");
  train(first, false);
  TrainConfig config = fixture.config("ar", "second");
  config.model = first.output;
  config.seed = 9;  // what is drawn at random is not what the first run drew
  config.freeze = {"visual.*"};
  train(config, false, 3);
  train(config, true);
  const Checkpoint before(first.output), after(config.output);
  for (const auto& [name, tensor] : before.tensors()) {
    const TensorView& now = after.tensors().at(name);
    EXPECT_EQ(std::memcmp(tensor.data, now.data, tensor.bytes()) == 0, name.starts_with("visual.")) << name;
  }
}

TEST(Training, ConversionGivesAPlainTokenizerTheMaskToken) {
  const toy::RunFixture fixture;
  const fs::path model = fixture.folder / "model";
  const auto edit = [&](const char* name, const auto& change) {
    nlohmann::json json = nlohmann::json::parse(read_file(model / name));
    change(json);
    write_file(model / name, json.dump());
  };
  edit("tokenizer.json",
       [](nlohmann::json& json) { json["added_tokens"].erase(json["added_tokens"].size() - 1); });
  edit("tokenizer_config.json", [](nlohmann::json& json) { json["added_tokens_decoder"].erase("1023"); });
  ASSERT_FALSE(Tokenizer(model).find(kMaskToken));
  TrainConfig config = fixture.config("convert", "out");
  config.steps = 2;
  train(config, false, 1);
  train(config, true);
  const Tokenizer tokenizer(config.output);
  EXPECT_EQ(tokenizer.find(kMaskToken), 1023);
  EXPECT_TRUE(tokenizer.is_special(1023));

  TrainConfig ar = fixture.config("ar", "ar");
  ar.steps = 1;
  train(ar, false);  // needs no mask token and adds none
  EXPECT_FALSE(Tokenizer(ar.output).find(kMaskToken));
}

TEST(Training, OverwritesNoModel) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 1;
  train(config, false);
  fs::remove(fs::path(config.output) / kStateFile);
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("already holds a model"));
}

TEST(Training, OptionsOfTheConversionRun) {
  const toy::RunFixture fixture;
  for (const char* change :
       {"complementary", "vision_efficient", "noisy_prompts", "random_block_offset", "known_first_token",
        "full_mask_probability", "bf16", "normalization", "annealing"}) {
    nlohmann::json json = to_json(fixture.config("convert", std::string("out-") + change));
    if (json[change].is_boolean()) json[change] = !json[change].get<bool>();
    if (json[change].is_number()) json[change] = 0.5;
    if (json[change] == "mean") json[change] = "num_items";
    if (json[change] == "paper") json[change] = "code";
    json["steps"] = 2;
    const TrainResult result = train(parse_train_config(json), false);
    EXPECT_TRUE(std::isfinite(result.loss) && result.noisy > 0 && result.clean > 0) << change;
  }
}

TEST(Training, AStateIsOfAStepThatARunCanHave) {
  const toy::Folder folder;
  const auto error = [&](int64_t step) {
    RunState run;
    run.step = step;
    write_safetensors(folder / "state", {}, state_metadata(run, {}));
    return toy::error_of([&] { read_run_state(Safetensors(folder / "state"), "state"); });
  };
  EXPECT_EQ(error(kMaxSteps), "");
  EXPECT_THAT(error(kMaxSteps + 1), HasSubstr("no valid 'step'"));
  EXPECT_THAT(error(std::numeric_limits<int64_t>::max()), HasSubstr("no valid 'step'"));
}

TEST(Training, SavesNoWeightsThatItsLastStepSpoiled) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 1, config.learning_rate = 1e39, config.warmup_ratio = 0;
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("infinite or NaN and are not saved"));
  EXPECT_FALSE(std::filesystem::exists(fixture.folder / "out/model.safetensors"));
}

TEST(Training, WrongRunsAreRefusedWithOneSentence) {
  const toy::RunFixture fixture;
  const TrainConfig good = fixture.config("ar", "out");
  EXPECT_THAT(toy::error_of([&] { train(good, true); }), HasSubstr("nothing to resume"));
  const auto error = [&](auto change) {
    TrainConfig config = good;
    change(config);
    return toy::error_of([&] { train(config, false); });
  };
  EXPECT_THAT(error([](TrainConfig& c) { c.model += "/gone"; }), HasSubstr("gone"));
  EXPECT_THAT(error([](TrainConfig& c) { c.data[0].path += ".gone"; }), HasSubstr(".gone"));
  EXPECT_THAT(error([](TrainConfig& c) { c.output = "/proc/nowhere"; }), HasSubstr("/proc/nowhere"));
  EXPECT_THAT(error([](TrainConfig& c) { c.output = c.model; }), HasSubstr("same folder"));
  EXPECT_THAT(error([](TrainConfig& c) { c.freeze = {"vision.*"}; }), HasSubstr("vision.*"));
  EXPECT_THAT(error([](TrainConfig& c) { c.learning_rate = 1e30, c.warmup_ratio = 0; }),
              HasSubstr("lower learning_rate"));
  TrainConfig done = good;
  done.steps = 1;
  done.output = (fixture.folder / "done").string();
  train(done, false);
  EXPECT_THAT(toy::error_of([&] { train(done, false); }), HasSubstr("--resume"));
  done.stage = "convert";
  EXPECT_THAT(toy::error_of([&] { train(done, true); }), HasSubstr("stage"));
  done.stage = "ar";
  std::string state = read_file(fs::path(done.output) / kStateFile);
  for (const size_t at : {state.find("\"step\":\"1\"") + 8, state.size() - 3}) {
    std::string damaged = state;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    toy::write_text(fs::path(done.output) / kStateFile, damaged);
    EXPECT_THAT(toy::error_of([&] { train(done, true); }), HasSubstr("is damaged")) << at;
  }
  toy::write_text(fs::path(done.output) / kStateFile, "short");
  EXPECT_THAT(toy::error_of([&] { train(done, true); }), HasSubstr(kStateFile));
}

TEST(Training, WhatTheMemoryCannotHoldIsRefusedBeforeAnythingIsMade) {
  const toy::RunFixture fixture;
  ModelConfig model = read_config(fixture.folder / "model");
  model.text.intermediate_size = 1 << 17, model.text.layers = 500;
  model.text.heads = model.text.kv_heads = 256, model.text.hidden_size = 256 * model.text.head_dim;
  model.vision.out_hidden_size = model.text.hidden_size;
  fs::copy(fixture.folder / "model", fixture.folder / "large");
  write_config(fixture.folder / "large", model);
  TrainConfig config = fixture.config("ar", "out");
  config.model = (fixture.folder / "large").string();
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("GB free"));
  EXPECT_FALSE(fs::exists(config.output));
}

TEST(Training, SavesWhatOtherLoadersOfQwenKnowWhenAsked) {
  const toy::RunFixture fixture;
  const fs::path model = fixture.folder / "model";
  toy::write_text(model / "generation_config.json",
                  "{\"eos_token_id\": 1003, \"repetition_penalty\": 1.05}\n");
  TrainConfig config = fixture.config("convert", "out");
  config.steps = 1, config.save_format = "qwen2_5_vl";
  train(config, false);
  const nlohmann::json saved = read_json(fs::path(config.output) / "config.json");
  EXPECT_EQ(saved["architectures"][0], "Qwen2_5_VLForConditionalGeneration");
  EXPECT_EQ(saved["model_type"], "qwen2_5_vl");
  EXPECT_EQ(saved["text_config"]["model_type"], "qwen2_5_vl_text");
  EXPECT_EQ(saved["torch_dtype"], "float32");
  EXPECT_FALSE(saved.contains("bd_size"));
  const Safetensors weights(fs::path(config.output) / "model.safetensors");
  EXPECT_TRUE(weights.tensors().contains("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(weights.tensors().contains("visual.patch_embed.proj.weight"));
  EXPECT_EQ(read_file(fs::path(config.output) / "generation_config.json"),
            read_file(model / "generation_config.json"));
  EXPECT_EQ(read_file(fs::path(config.output) / "preprocessor_config.json"),
            read_file(model / "preprocessor_config.json"));
  EXPECT_THAT(Checkpoint(config.output).problems(), testing::IsEmpty());
}

TEST(Training, BadDataEndTheRunWithWhatItHadLearnt) {
  const toy::RunFixture fixture(40);
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 60, config.log_interval = 100;
  config.max_bad_samples = 0.04;  // one of 42 may be bad
  std::ofstream(config.data[0].path, std::ios::app) << "{}\n[]\n";
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("2 of 42 records"));
  EXPECT_TRUE(fs::exists(fs::path(config.output) / kStateFile));
  config.max_bad_samples = 0.05;
  EXPECT_EQ(train(config, true).step, 60);
  EXPECT_EQ(read_log(fs::path(config.output) / "train.jsonl", 100).back().bad, 2);
}

TEST(Training, APassThatReachesNoWeightOfTheTowerThatTrainsChangesNothing) {
  const toy::RunFixture fixture(4);
  TrainConfig config = fixture.config("ar", "out");
  std::ofstream(config.data[0].path, std::ios::app)
      << R"({"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "x"}]})"
      << "\n";
  config.steps = 15, config.batch_size = 1, config.freeze = {"model.*"};
  EXPECT_EQ(train(config, false).step, 15);
}

TEST(Training, GoesOnExactlyBehindStepsThatChangedNothing) {
  const toy::RunFixture fixture(12);
  TrainConfig config = fixture.config("ar", "whole");
  // Half of the samples lose all of their answers to max_length.
  std::string long_question(400, 'a');
  for (int i = 0; i < 12; ++i)
    std::ofstream(config.data[0].path, std::ios::app)
        << R"({"messages": [{"role": "user", "content": ")" << long_question
        << R"("}, {"role": "assistant", "content": "x"}]})"
        << "\n";
  config.steps = 24, config.batch_size = 1, config.max_length = 160, config.ema_decay = 0.9;
  train(config, false);
  TrainConfig cut = config;
  cut.output = (fs::path(config.output).parent_path() / "cut").string();
  train(cut, false, 11);
  EXPECT_EQ(train(cut, true).step, 24);
  EXPECT_EQ(read_file(fs::path(cut.output) / "model.safetensors"),
            read_file(fs::path(config.output) / "model.safetensors"));
  const auto log = read_log(fs::path(cut.output) / "train.jsonl", 100);
  EXPECT_EQ(log.back().dropped, 12) << "over both starts";
}

TEST(Training, ResumesNoRunWithOtherWeightsFrozen) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 2;
  train(config, false);
  config.steps = 4, config.freeze = {"visual.*"};
  EXPECT_THAT(toy::error_of([&] { train(config, true); }), HasSubstr("\"freeze\": []"));
}

TEST(Training, LimitsOfPicturesAreSavedWithTheModel) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 1, config.max_pixels = 28 * 28 * 3;
  train(config, false);
  EXPECT_EQ(read_config(config.output).preprocessor.max_pixels, 28 * 28 * 3);
}

TEST(Training, ARunThatNothingIsLeftForSaysSo) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 100, config.max_length = 10;
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("nothing to learn (max_length 10)"));
}

TEST(Training, ATimeLimitEndsTheRunAndDrivesTheSchedule) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 0, config.max_minutes = 2.0 / 60;
  const TrainResult result = train(config, false);
  EXPECT_EQ(result.progress, 1);
  EXPECT_GT(result.step, 2);
  const auto log = read_log(fs::path(config.output) / "train.jsonl", 1 << 30);
  EXPECT_GT(log.back().progress, 0.5);
  EXPECT_EQ(train(config, true).step, result.step);  // the time of the first start counts
}

TEST(Command, NamesWhatItDoesNotKnow) {
  EXPECT_THAT(toy::error_of([] { train_command(R"({"config": "x.json", "fast": true})"); }),
              HasSubstr("fast"));
  EXPECT_THAT(toy::error_of([] { train_command(R"({"config": 5})"); }), HasSubstr("config"));
  EXPECT_THAT(toy::error_of([] { train_command("{}"); }), HasSubstr("--config"));
}

TEST(Curve, LogRoundTripsAndLeavesOutWhatIsTornOrTooNew) {
  const toy::Folder folder;
  LogPoint point;
  point.step = 10, point.loss = 0.5, point.noisy = 0.25, point.block_size = 8;
  std::string text = to_json_line(point);
  point.step = 20;
  text += to_json_line(point);
  point.step = 30;
  text += to_json_line(point).substr(0, 20);
  toy::write_text(folder / "train.jsonl", text);
  const auto all = read_log(folder / "train.jsonl", 1000);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].noisy, 0.25);
  EXPECT_EQ(all[1].step, 20);
  EXPECT_EQ(read_log(folder / "train.jsonl", 10).size(), 1u);
  EXPECT_TRUE(read_log(folder / "none.jsonl", 10).empty());
}

TEST(Curve, DrawsBothLossesAndEscapesTheTitle) {
  std::vector<LogPoint> points(3);
  for (size_t i = 0; i < 3; ++i)
    points[i].step = static_cast<int64_t>(10 * i), points[i].clean = 3.0 - static_cast<double>(i);
  EXPECT_EQ(loss_curve_svg(points, "a<b").find("masked"), std::string::npos);
  points[1].noisy = 5;
  const std::string svg = loss_curve_svg(points, "a<b");
  EXPECT_THAT(svg, HasSubstr("masked"));
  EXPECT_EQ(svg.find("a<b"), std::string::npos);
  EXPECT_THAT(loss_curve_svg({}, "empty"), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace dvlm
