// Training on a card: the one that DVLM_TEST_DEVICE names, or else a pretended one.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "core/files.h"
#include "pretend_card.h"
#include "run_fixture.h"
#include "torch_device.h"
#include "train/curve.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/state.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using torch::Tensor;

class TheCard : public testing::Environment {
 public:
  void SetUp() override { test::on_card() ? void(test::torch_device()) : test::pretend_card(); }
};
const auto* const the_card = testing::AddGlobalTestEnvironment(new TheCard);

std::string card_name() {
  return test::on_card() ? test::torch_device().str() : "cuda";
}

double difference(const Tensor& found, const Tensor& expected) {
  const Tensor e = expected.to(torch::kCPU, torch::kFloat64);
  return ((found.to(torch::kCPU, torch::kFloat64) - e).norm() / e.norm().clamp_min(1e-12)).item<double>();
}

TEST(OnCard, ATensorOfTheCpuIsNoticed) {
  const Tensor far = torch::ones({2, 3}, open_device(card_name())), near = torch::ones({2, 3});
  EXPECT_EQ((far + far).sum().item<float>(), 12);
  EXPECT_ANY_THROW(far + near);
  EXPECT_ANY_THROW(torch::mm(far, near.t()));
}

struct Step {
  Loss loss;
  std::map<std::string, Tensor> gradients;
  std::map<std::string, Tensor> state;  // of the optimiser after its step
};

// Two conversations with pictures and regions, in the dual stream.
Step one_step(const std::string& device_name, torch::Dtype type) {
  const torch::Device device = open_device(device_name);
  torch::manual_seed(3);
  Network network(toy::small_config());
  {
    // Untrained weights are so small that every mistake would hide in uniform predictions.
    const torch::NoGradGuard no_grad;
    for (Tensor& parameter : network->parameters())
      if (parameter.dim() >= 2) parameter.mul_(4);
  }
  network->set_compute_type(type);
  network->to(device);
  std::vector<Sample> samples;
  std::vector<Row> rows;
  for (const uint64_t draw : {1, 2}) {
    Sample& sample = samples.emplace_back(toy::two_turns());
    toy::add_picture(sample, toy::small_config().vision, draw);
    sample.regions = {{4, {40}}, {7, {41, 42}}};
    const Layout layout = make_layout(32, sample.answers, 4);
    const auto copies = draw_noise(sample.ids, layout, toy::kEnd, {}, {1, draw});
    rows.push_back(make_row(sample, layout, copies, toy::tokens(), {}));
    score_regions(rows.back(), sample);
  }
  const TrainBatch batch = on_device(collate(rows, samples, toy::kPad), device);
  TrainConfig config;
  config.stage = "convert", config.region_weight = 0.25, config.ema_decay = 0.9;
  const LossCounts counts{batch.noisy_rows.numel(), batch.clean_rows.numel(), batch.region_rows.numel(),
                          batch.answer_tokens};
  Step step{training_loss(network, batch, counts, config), {}, {}};
  step.loss.total.backward();
  for (const auto& item : network->named_parameters()) {
    EXPECT_EQ(item.value().grad().device(), device) << item.key();
    step.gradients[item.key()] = item.value().grad().clone();
  }
  Optimizer optimizer(network, config);
  optimizer.step(1e-3);
  for (const StatePiece& piece : optimizer.state()) {
    EXPECT_EQ(piece.values.device(), device) << piece.name;
    step.state[piece.name] = piece.values;
  }
  return step;
}

TEST(OnCard, LossGradientsAndWeightsAreThoseOfTheCpu) {
  const Step expected = one_step("cpu", torch::kFloat32), found = one_step(card_name(), torch::kFloat32);
  const double loss = expected.loss.total.item<double>();
  EXPECT_NEAR(found.loss.total.item<double>(), loss, 1e-5 * loss);
  EXPECT_NEAR(found.loss.regions, expected.loss.regions, 1e-5 * expected.loss.regions);
  // Sums of some hundred terms, each rounded to 2^-24, through some twenty layers.
  for (const auto& [name, gradient] : expected.gradients)
    EXPECT_LE(difference(found.gradients.at(name), gradient), 1e-5) << name;
  // AdamW divides a gradient by its own size, and so makes rounding visible where there is hardly a gradient.
  for (const auto& [name, tensor] : expected.state)
    EXPECT_LE(difference(found.state.at(name), tensor), name.starts_with("m/") ? 1e-5 : 1e-3) << name;
}

TEST(OnCard, Bf16IsF32UpToRoundingWhicheverOperatorsComputeIt) {
  // Each rounding to bf16 is off by up to 2^-9, and a number passes through some sixteen on its way.
  constexpr double kTolerance = 16.0 / 512;
  const Step expected = one_step("cpu", torch::kFloat32);
  for (const std::string& device : {std::string("cpu"), card_name()}) {
    const Step found = one_step(device, torch::kBFloat16);
    const double loss = expected.loss.total.item<double>();
    EXPECT_NEAR(found.loss.total.item<double>(), loss, 0.01 * loss) << device;
    for (const auto& [name, gradient] : expected.gradients)
      EXPECT_LE(difference(found.gradients.at(name), gradient), kTolerance) << device << " " << name;
  }
}

TrainConfig on(const std::string& device, TrainConfig config) {
  config.device = device;
  return config;
}

// f32 tensors of a file, as vectors.
std::map<std::string, Tensor> tensors_in(const fs::path& path) {
  const Safetensors file(path);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, view] : file.tensors()) {
    tensors[name] = torch::empty({view.elements()});
    copy_to_float(view, 0, view.elements(), tensors[name].data_ptr<float>());
  }
  return tensors;
}

// What the model in `folder` answers to a question of its data, one likeliest token at a time.
std::vector<int64_t> greedy(const std::string& folder, const std::string& device) {
  const torch::NoGradGuard no_grad;
  const std::vector<TokenId> prompt = Tokenizer(folder).encode(
      "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n", ControlTokens::parse);
  std::vector<int64_t> tokens(prompt.begin(), prompt.end());
  Network network(read_config(folder));
  network->load(Checkpoint(folder));
  network->set_compute_type(torch::kBFloat16);
  network->to(open_device(device));
  while (tokens.size() < prompt.size() + 24) {
    const auto length = static_cast<int64_t>(tokens.size());
    NetworkInput input;
    input.tokens = torch::tensor(tokens, open_device(device)).unsqueeze(0);
    input.positions = torch::arange(length, input.tokens.options()).expand({3, 1, length});
    const Tensor last = network->hidden(input).select(1, length - 1);
    tokens.push_back(network->logits(last).argmax().item<int64_t>());
  }
  return tokens;
}

TEST(OnCard, ARunLearnsWhatItLearnsOnTheCpu) {
  const toy::RunFixture fixture;
  for (const char* stage : {"ar", "convert"}) {
    std::vector<LogPoint> logs[2];
    for (const int i : {0, 1}) {
      TrainConfig config =
          on(i == 0 ? "cpu" : card_name(), fixture.config(stage, fmt::format("{}{}", stage, i)));
      config.steps = 60, config.learning_rate = 1e-2, config.batch_size = 5;
      train(config, false);
      logs[i] = read_log(fs::path(config.output) / "train.jsonl", 1000);
      ASSERT_EQ(logs[i].size(), 60u);
      EXPECT_LT(logs[i].back().loss, 0.25 * logs[i].front().loss) << stage << " on " << config.device;
    }
    EXPECT_NEAR(logs[1].front().loss, logs[0].front().loss, 1e-3 * logs[0].front().loss) << stage;
    EXPECT_NEAR(logs[1].back().loss, logs[0].back().loss, 0.02 * logs[0].front().loss) << stage;
  }
  // Whichever device a model was trained on, both write the same with it.
  for (const int i : {0, 1}) {
    const std::string folder = fixture.config("ar", fmt::format("ar{}", i)).output;
    EXPECT_EQ(greedy(folder, card_name()), greedy(folder, "cpu")) << folder;
  }
}

TEST(OnCard, ARunContinuesOnTheOtherDevice) {
  const toy::RunFixture fixture;
  TrainConfig straight = fixture.config("convert", "straight");
  straight.bf16 = false;
  const TrainResult whole = train(straight, false);
  const auto expected = tensors_in(fs::path(straight.output) / kStateFile);
  for (const bool from_card : {false, true}) {
    TrainConfig config = straight;
    config.output = (fixture.folder / (from_card ? "from-card" : "to-card")).string();
    train(on(from_card ? card_name() : "cpu", config), false, 3);
    const TrainResult result = train(on(from_card ? "cpu" : card_name(), config), true);
    EXPECT_EQ(result.step, 6);
    EXPECT_NEAR(result.loss, whole.loss, 1e-4 * whole.loss);
    for (const auto& [name, tensor] : tensors_in(fs::path(config.output) / kStateFile))
      EXPECT_LE(difference(tensor, expected.at(name)), 1e-3) << name;
  }
}

TEST(OnCard, TheSavedStateKnowsNoDevice) {
  const toy::RunFixture fixture;
  const TrainConfig config = fixture.config("ar", "out");
  train(config, false);
  const auto state = tensors_in(fs::path(config.output) / kStateFile);
  const std::string model = read_file(fs::path(config.output) / "model.safetensors");
  train(on(card_name(), config), true);  // nothing is left to train: it is read, moved and written
  for (const auto& [name, tensor] : tensors_in(fs::path(config.output) / kStateFile))
    EXPECT_TRUE(tensor.equal(state.at(name))) << name;
  EXPECT_EQ(read_file(fs::path(config.output) / "model.safetensors"), model);
}

TEST(OnCard, ACheckpointHoldsItsStepWhileTrainingGoesOn) {
  const toy::RunFixture fixture;
  const fs::path out = fixture.folder / "model";
  Tensor weights = torch::arange(6, torch::dtype(torch::kFloat32)).to(open_device(card_name()));
  const std::vector<StatePiece> pieces = {{"weight/w", {2, 3}, 0, weights}};
  RunState third;
  third.step = 3;
  const StateWriter writer(out, pieces, third, {});
  weights.add_(100);
  writer.write();
  EXPECT_FALSE(fs::exists(out / kStateFile)) << "others may still write theirs";
  writer.commit({});
  EXPECT_EQ(load_state(out, pieces).step, 3);
  EXPECT_TRUE(weights.to(torch::kCPU).equal(torch::arange(6, torch::kFloat32)));

  // Checkpoints as often as they can be written change nothing of a run, hold their own step, and leave one
  // state. On the CPU there is one of every step.
  const auto run = [&](const std::string& device, const std::string& output, double minutes,
                       int64_t stop_after) {
    TrainConfig config = on(device, fixture.config("convert", output));
    config.checkpoint_minutes = minutes, config.keep_checkpoints = 10;
    train(config, false, stop_after);
    return fs::path(config.output);
  };
  const fs::path straight = run(card_name(), "straight", 10, 0), often = run(card_name(), "often", 1e-9, 0),
                 cpu = run("cpu", "cpu", 1e-9, 0);
  const auto expected = tensors_in(straight / kStateFile), found = tensors_in(often / kStateFile);
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : found) EXPECT_TRUE(tensor.equal(expected.at(name))) << name;
  for (int step = 0; step <= 6; ++step) {
    const std::string name = fmt::format("step-{}", step);
    EXPECT_TRUE(fs::exists(cpu / name)) << name;
    EXPECT_TRUE(fs::exists(often / name) || (step > 0 && step < 6)) << name;
    if (!fs::exists(often / name)) continue;
    const fs::path model = step == 0 ? cpu / name : run(card_name(), "to-" + name, 10, step);
    EXPECT_EQ(read_file(often / name / "model.safetensors"), read_file(model / "model.safetensors")) << name;
  }
  for (const auto& entry : fs::directory_iterator(often))
    EXPECT_FALSE(entry.path().filename().string().starts_with("training-")) << entry.path();
}

TEST(OnCard, ACardThatIsNotThereIsRefused) {
  const toy::RunFixture fixture;
  EXPECT_THAT(toy::error_of([&] { train(on("cuda:99", fixture.config("ar", "out")), false); }),
              HasSubstr("cuda:99"));
}

}  // namespace
}  // namespace dvlm
