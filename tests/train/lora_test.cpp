// Adapters in training: against the gradients of merged weights, against transformers with PEFT, and whole
// runs.
#include "torch/lora.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "checkpoint/lora.h"
#include "core/files.h"
#include "run_fixture.h"
#include "train/loss.h"
#include "train/optimizer.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using torch::Tensor;

// One conversion step on the toy dialogue with its picture.
struct Step {
  TrainConfig config;
  TrainBatch batch;
  LossCounts counts;

  Step() {
    config.stage = "convert";
    Sample sample = toy::two_turns();
    toy::add_picture(sample, toy::small_config().vision);
    const Layout layout = make_layout(32, sample.answers, 4);
    const Row row =
        make_row(sample, layout, draw_noise(sample.ids, layout, toy::kEnd, {}, {1, 1}), toy::tokens(), {});
    batch = collate({&row, 1}, {&sample, 1}, toy::kPad);
    counts = {batch.noisy_rows.numel(), batch.clean_rows.numel(), 0, batch.answer_tokens};
  }
  double run(Network& network) {
    const Tensor total = training_loss(network, batch, counts, config).total;
    if (total.requires_grad()) total.backward();
    return total.item<double>();
  }
};

Network toy_network() {
  torch::manual_seed(3);
  Network network(toy::small_config());
  for (auto& item : network->named_parameters())  // gradients that rounding does not drown
    if (item.value().dim() >= 2) torch::NoGradGuard(), item.value().data().mul_(4);
  return network;
}

void randomize(Network& network) {
  torch::manual_seed(5);
  for (auto& item : network->named_parameters())
    if (towers::is_adapter(item.key())) item.value().data().copy_(0.3 * torch::randn_like(item.value()));
}

double difference(const Tensor& found, const Tensor& expected) {
  return (found - expected).norm().item<double>() / expected.norm().item<double>();
}

TEST(Lora, ItsGradientsAreThoseOfTheMergedWeights) {
  for (const bool again : {false, true}) {
    Step step;
    Network adapted = toy_network(), merged = toy_network();
    add_lora(adapted, {.rank = 3, .alpha = 6, .targets = {"model.layers.*", "visual.*"}}, toy::kMask);
    randomize(adapted);
    adapted->set_recompute(again);
    NamedTensors weights = merged->named_weights();
    for (const towers::LinearPart& part : adapted->linears())
      for (const layers::Adapter& adapter : part.linear->adapters)
        if (adapter.layer == part.name)
          weights.at(part.name + ".weight").add_(2 * adapter.b.detach().matmul(adapter.a.detach()));
    weights.at("model.embed_tokens.weight")[toy::kMask].copy_(adapted->text()->own_row().detach()[0]);
    EXPECT_NEAR(step.run(adapted), step.run(merged), 1e-5);
    int compared = 0;
    std::map<const void*, Tensor> gradients;  // by where the weights begin
    for (const auto& item : merged->named_parameters())
      gradients[item.value().data_ptr()] = item.value().grad();
    for (const towers::LinearPart& part : adapted->linears())
      for (const layers::Adapter& adapter : part.linear->adapters) {
        if (adapter.layer != part.name) continue;
        const Tensor weight = weights.at(part.name + ".weight");
        const auto whole = std::prev(gradients.upper_bound(weight.data_ptr()));
        const int64_t first =
            (static_cast<const float*>(weight.data_ptr()) - static_cast<const float*>(whole->first)) /
            weight.size(1);
        const Tensor gradient = whole->second.narrow(0, first, weight.size(0));
        EXPECT_LE(difference(adapter.b.grad(), 2 * gradient.matmul(adapter.a.t())), 1e-4) << part.name;
        EXPECT_LE(difference(adapter.a.grad(), 2 * adapter.b.t().matmul(gradient)), 1e-4) << part.name;
        ++compared;
      }
    EXPECT_EQ(compared, 2 * 7 + 5 + 2);
    for (const auto& item : adapted->named_parameters())
      EXPECT_EQ(item.value().grad().defined(), towers::is_adapter(item.key())) << item.key();
  }
}

// Layers that run again, of which some pass on what has no gradient.
TEST(Lora, RunsAgainForItsGradientsWhateverItsTargets) {
  for (const char* target :
       {"mlp.down_proj", "self_attn.v_proj", "visual.blocks.0.mlp.up_proj", "merger.mlp.2"}) {
    Step step;
    Network once = toy_network(), twice = toy_network();
    for (Network* network : {&once, &twice}) {
      add_lora(*network, {.rank = 2, .targets = {target}}, -1);
      randomize(*network);
    }
    twice->set_recompute(true);
    EXPECT_EQ(step.run(once), step.run(twice)) << target;
    const auto expected = once->named_parameters(), found = twice->named_parameters();
    for (const auto& item : expected) {
      if (!towers::is_adapter(item.key())) continue;
      EXPECT_TRUE(found[item.key()].grad().equal(item.value().grad())) << target << " " << item.key();
    }
  }
}

TEST(Lora, ChangesNothingAtFirst) {
  Step step;
  Network plain = toy_network(), adapted = toy_network();
  add_lora(adapted, {.rank = 3}, toy::kMask);
  EXPECT_EQ(step.run(adapted), step.run(plain));
}

TEST(Lora, DropoutIsTheSameForTheSameKeyAndScalesWhatStays) {
  Network network = toy_network();
  add_lora(network, {.rank = 4}, -1);
  randomize(network);
  const layers::Linear& layer = *network->linears()[0].linear;
  const Tensor x = torch::randn({500, layer.weight.size(1)});
  const auto with = [&](double dropout, uint64_t key) {
    return layers::linear(x, layer, {{}, dropout, key});
  };
  EXPECT_TRUE(with(0.5, 7).equal(with(0.5, 7)));
  EXPECT_FALSE(with(0.5, 7).equal(with(0.5, 8)));
  EXPECT_TRUE(with(0, 7).equal(with(0, 8)));
  Tensor mean = torch::zeros_like(with(0, 0));
  constexpr int kDraws = 400;
  for (int key = 0; key < kDraws; ++key) mean += with(0.5, static_cast<uint64_t>(key)) / kDraws;
  EXPECT_LE(difference(mean, with(0, 0)), 0.1);
}

// The noisy copies run with the adapter and the clean half without, as drafts and verification do.
TEST(Lora, ForDraftsAloneGivesThePromptOfTheModelAndTheBlockOfPeft) {
  const fs::path model = fs::path(DVLM_FIXTURES) / "model/gqa4-head16-f32",
                 adapter = fs::path(DVLM_FIXTURES) / "lora/drafts";
  const Checkpoint checkpoint(model);
  const Lora lora(adapter);
  Network network(checkpoint.config());
  network->load(checkpoint);
  add_lora(network, {.rank = 2, .alpha = 6, .drafts_only = true}, lora.tokens().at(0));
  const torch::NoGradGuard no_grad;
  const auto read = [](const TensorView& view, Tensor to) {
    const Tensor values = torch::empty(view.shape);
    copy_to_float(view, 0, view.elements(), values.mutable_data_ptr<float>());
    to.copy_(values.view_as(to));
  };
  for (const towers::LinearPart& part : network->linears())
    for (layers::Adapter& held : part.linear->adapters)
      read(lora.linears().at(held.layer).a, held.a), read(lora.linears().at(held.layer).b, held.b);
  read(lora.token_rows(), network->text()->own_row());

  const Safetensors file(adapter / "case-image.safetensors");
  const auto tensor = [&](const char* name) {
    const TensorView& view = file.tensors().at(name);
    Tensor out = torch::empty(view.shape, view.type == DType::i32    ? torch::kInt32
                                          : view.type == DType::bf16 ? torch::kBFloat16
                                                                     : torch::kFloat32);
    std::memcpy(out.mutable_data_ptr(), view.data, view.bytes());
    return out;
  };
  const Tensor prompt = tensor("input_ids").to(torch::kInt64),
               block = tensor("draft_tokens").to(torch::kInt64);
  const int64_t length = prompt.numel(), size = block.numel();
  NetworkInput input;
  input.tokens = torch::cat({block, prompt}).unsqueeze(0);
  const Tensor behind = torch::arange(length, length + size) + tensor("rope_delta").item<int>();
  input.positions =
      torch::cat({behind.expand({3, size}), tensor("position_ids").to(torch::kInt64)}, 1).unsqueeze(1);
  input.mask = torch::zeros({1, 1, length + size, length + size}, torch::kBool);
  input.mask[0][0].slice(0, 0, size).fill_(true);
  input.mask[0][0].slice(0, size).slice(1, size).copy_(torch::ones({length, length}).tril().to(torch::kBool));
  input.patches = tensor("patches").to(torch::kFloat32);
  const Tensor grids = tensor("grids");
  input.grids = {{grids[0][0].item<int>(), grids[0][1].item<int>(), grids[0][2].item<int>()}};
  input.feature_rows = (input.tokens[0] == checkpoint.config().image_token).nonzero().flatten();
  input.adapters.rows = torch::arange(size);
  const Tensor logits = network->logits(network->hidden(input))[0];
  EXPECT_LE(difference(logits.slice(0, 0, size), tensor("draft_logits")), 1e-4);
  const Tensor rows = tensor("logit_rows").to(torch::kInt64) + size;
  EXPECT_LE(difference(logits.index_select(0, rows), tensor("logits")), 1e-4);
}

TEST(Lora, RefusesTargetsThatAreNotThere) {
  Network network = toy_network();
  EXPECT_THAT(toy::error_of([&] { add_lora(network, {.rank = 1, .targets = {"c_attn"}}, -1); }),
              HasSubstr("\"c_attn\" matches no linear layer"));
  EXPECT_THAT(toy::error_of(
                  [&] { add_lora(network, {.rank = 1, .targets = {"gate_proj"}, .drafts_only = true}, -1); }),
              HasSubstr("which drafts do not run"));
}

// A whole run: what is saved is an adapter of the model that it started from, and what resumes goes on.
TEST(Lora, ARunSavesAnAdapterThatMergesAndResumes) {
  const toy::RunFixture fixture;
  TrainConfig start = fixture.config("ar", "start");
  train(start, false);
  TrainConfig config = fixture.config("convert", "adapter");
  config.model = start.output, config.learning_rate = 1e-2, config.ema_decay = 0;
  config.lora = {.rank = 4, .alpha = 8, .dropout = 0.1, .targets = {"q_proj", "v_proj", "mlp.down_proj"}};
  TrainConfig whole = config;
  whole.output = (fixture.folder / "whole").string();
  train(config, false, 3);
  train(config, true);
  train(whole, false);
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"})
    EXPECT_EQ(read_file(fs::path(config.output) / name), read_file(fs::path(whole.output) / name)) << name;
  EXPECT_FALSE(fs::exists(fs::path(config.output) / "model.safetensors"));
  EXPECT_TRUE(fs::exists(fs::path(config.output) / "tokenizer.json"));

  const Lora lora(config.output);
  Checkpoint merged(start.output);
  merged.add(lora);
  EXPECT_EQ(merged.config().architecture, "Fast_dVLMForConditionalGeneration");
  EXPECT_EQ(merged.config().block_size, 8);
  EXPECT_EQ(lora.linears().size(), 2u * 3 + 1);  // the vision block's down_proj, too, as PEFT has it
  EXPECT_EQ(lora.tokens().size(), 1u);
  const nlohmann::json written =
      nlohmann::json::parse(read_file(fs::path(config.output) / "adapter_config.json"));
  EXPECT_EQ(written["base_model_name_or_path"], start.output);
  EXPECT_THAT(toy::error_of([&] { train(config, false); }), HasSubstr("--resume"));
}

// A model that has never seen a mask learns to draft what it writes.
TEST(Lora, ForDraftsAloneMakesDraftsRight) {
  const toy::RunFixture fixture;
  TrainConfig start = fixture.config("ar", "start");
  start.steps = 120, start.learning_rate = 1e-2, start.batch_size = 5;
  train(start, false);
  TrainConfig config = fixture.config("convert", "adapter");
  config.model = start.output, config.validation = config.data;
  config.steps = 400, config.learning_rate = 1e-2, config.batch_size = 5, config.ema_decay = 0;
  config.lora = {.rank = 8, .alpha = 16, .drafts_only = true};
  train(config, false, 1);
  train(config, true);
  std::vector<nlohmann::json> points;
  read_lines(fs::path(config.output) / "validation.jsonl", [&](int, std::string_view line) {
    points.push_back(nlohmann::json::parse(line));
    return true;
  });
  ASSERT_EQ(points.size(), 2u);
  EXPECT_GT(points[1]["right"].get<double>(), 2 * points[0]["right"].get<double>() + 1);
  EXPECT_TRUE(Lora(config.output).drafts_only());
}

}  // namespace
}  // namespace dvlm
