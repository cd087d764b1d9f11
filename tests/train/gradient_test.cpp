// Loss and gradients of whole conversion steps against transformers and the rules written anew
// (tools/fixtures/make_gradient_fixtures.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "train/loss.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

const fs::path kGradients = fs::path(DVLM_FIXTURES) / "gradients";
constexpr int kCases = 5, kSamples = 2;

class Steps {
 public:
  explicit Steps(torch::Dtype type = torch::kFloat32, bool recompute = false)
      : checkpoint_(kGradients), network_(checkpoint_.config()) {
    network_->load(checkpoint_);
    network_->set_compute_type(type);
    network_->set_recompute(recompute);
  }

  torch::Tensor expected(const std::string& name) const {
    const TensorView& view = file_.tensors().at(name);
    const auto type = view.type == DType::f32 ? torch::kFloat32 : torch::kInt32;
    torch::Tensor out = torch::empty(view.shape, type);
    std::memcpy(out.mutable_data_ptr(), view.data, view.bytes());
    return out;
  }

  // Leaves the gradients in the parameters' places, where named_weights() finds them.
  void run(int number) {
    const std::string name = "case" + std::to_string(number);
    notes_ = nlohmann::json::parse(file_.metadata().at(name));
    const nlohmann::json& notes = notes_;
    TrainConfig config;
    config.stage = "convert";
    config.complementary = notes["pair"];
    config.loss_weights = {notes["noisy_weight"], notes["clean_weight"]};
    config.normalization = notes["num_items"] ? "num_items" : "mean";
    const RowOptions options{notes["vision_efficient"], notes["noisy_prompts"]};
    const int vocab = checkpoint_.config().text.vocab_size;
    const StreamTokens tokens{vocab - 5,
                              vocab - 6,
                              0,
                              checkpoint_.config().image_token,
                              checkpoint_.config().video_token,
                              checkpoint_.config().vision_start_token};
    std::vector<Sample> samples;
    std::vector<Row> rows;
    for (int i = 0; i < kSamples; ++i) {
      samples.push_back(sample(i));
      const auto length = static_cast<int>(samples.back().ids.size());
      rows.push_back(make_row(samples.back(), make_layout(length, samples.back().answers, notes["block"]),
                              masks(name + ".masked" + std::to_string(i)), tokens, options));
    }
    const TrainBatch batch = collate(rows, samples, 0);
    const Loss loss =
        training_loss(network_, batch,
                      {batch.noisy_rows.numel(), batch.clean_rows.numel(), 0, batch.answer_tokens}, config);
    network_->zero_grad();
    loss.total.backward();
    const torch::Tensor want = expected(name + ".loss");
    noisy_ = loss.noisy / static_cast<double>(batch.noisy_rows.numel()) / want[1].item<double>();
    clean_ = loss.clean / static_cast<double>(batch.clean_rows.numel()) / want[2].item<double>();
    total_ = loss.total.item<double>() / want[0].item<double>();
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : network_->parameters()) parameter.copy_(parameter.grad());
  }

  // Relative errors of all weights' gradients after run(number), ascending.
  std::vector<double> errors(int number) const {
    std::vector<double> out;
    for (const auto& [name, gradient] : network_->named_weights()) {
      const torch::Tensor want = expected("case" + std::to_string(number) + ".gradient." + name);
      out.push_back(((gradient - want.view(gradient.sizes())).norm() / want.norm()).item<double>());
    }
    std::ranges::sort(out);
    return out;
  }

  double note(const char* name) const { return notes_.at(name); }  // of the last step

  double total_ = 0, noisy_ = 0, clean_ = 0;  // of the last step, as shares of what they should be

 private:
  std::vector<int32_t> integers(const std::string& name) const {
    const torch::Tensor values = expected(name).flatten();
    return {values.data_ptr<int32_t>(), values.data_ptr<int32_t>() + values.numel()};
  }

  Sample sample(int number) const {
    const std::string name = "sample" + std::to_string(number) + ".";
    Sample out;
    for (const int32_t id : integers(name + "ids")) out.ids.push_back(id);
    const torch::Tensor where = expected(name + "positions");
    for (int64_t i = 0; i < where.size(1); ++i)
      out.positions.push_back({where[0][i].item<int>(), where[1][i].item<int>(), where[2][i].item<int>()});
    const auto answers = integers(name + "answers"), grids = integers(name + "grids");
    for (size_t i = 0; i < answers.size(); i += 2) out.answers.push_back({answers[i], answers[i + 1]});
    const torch::Tensor patches = expected(name + "patches");
    const float* values = patches.data_ptr<float>();
    for (size_t i = 0; i < grids.size(); i += 3) {
      Patches picture;
      picture.grid = {grids[i], grids[i + 1], grids[i + 2]};
      const auto count = picture.grid.patches() * patches.size(1);
      picture.values.assign(values, values + count);
      values += count;
      out.visuals.push_back(std::move(picture));
    }
    return out;
  }

  std::vector<MaskedFlags> masks(const std::string& name) const {
    const torch::Tensor flags = expected(name);
    std::vector<MaskedFlags> out;
    for (int64_t copy = 0; copy < flags.size(0); ++copy) {
      MaskedFlags& one = out.emplace_back();
      for (int64_t i = 0; i < flags.size(1); ++i) one.push_back(flags[copy][i].item<int>() != 0);
    }
    return out;
  }

  Safetensors file_{kGradients / "steps.safetensors"};
  Checkpoint checkpoint_;
  Network network_;
  nlohmann::json notes_;
};

class Gradients : public testing::TestWithParam<int> {};

TEST_P(Gradients, of_all_weights_are_those_of_the_oracle) {
  for (const bool recompute : {false, true}) {
    Steps steps(torch::kFloat32, recompute);
    steps.run(GetParam());
    EXPECT_NEAR(steps.total_, 1, 1e-5);
    EXPECT_NEAR(steps.noisy_, 1, 1e-5);
    EXPECT_NEAR(steps.clean_, 1, 1e-5);
    const std::vector<double> errors = steps.errors(GetParam());
    std::printf("%zu weights: median %.1e, worst %.1e\n", errors.size(), errors[errors.size() / 2],
                errors.back());
    EXPECT_LT(errors.back(), 2e-4);
  }
}

TEST_P(Gradients, in_bf16_are_as_near_as_those_of_transformers) {
  Steps steps(torch::kBFloat16);
  steps.run(GetParam());
  EXPECT_NEAR(steps.total_, 1, 5e-3);
  const std::vector<double> errors = steps.errors(GetParam());
  std::printf("%zu weights: median %.1e, worst %.1e\n", errors.size(), errors[errors.size() / 2],
              errors.back());
  EXPECT_LT(errors[errors.size() / 2], 1.5 * steps.note("bf16_median"));
  EXPECT_LT(errors.back(), 1.5 * steps.note("bf16_worst"));
}

INSTANTIATE_TEST_SUITE_P(Cases, Gradients, testing::Range(0, kCases));

}  // namespace
}  // namespace dvlm
