#include "train/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "torch/lora.h"
#include "toy.h"
#include "train/optimizer.h"

namespace dvlm {
namespace {

struct Bench {
  ModelConfig config = toy::small_config();
  Network network{nullptr};
  TrainConfig train;
  Bench() {
    torch::manual_seed(3);
    network = Network(config);
    // Untrained weights are so small that every mistake would hide in uniform predictions.
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : network->parameters())
      if (parameter.dim() >= 2) parameter.mul_(8);
    train.stage = "convert";
  }

  Sample sample(uint64_t draw) const {
    Sample out = toy::two_turns();
    out.draw = draw;
    out.ids[15] += static_cast<TokenId>(draw);
    toy::add_picture(out, config.vision, draw);
    return out;
  }

  std::vector<MaskedFlags> noise(const Sample& sample, const Layout& layout) const {
    return draw_noise(sample.ids, layout, toy::kEnd, {}, {1, sample.draw});
  }

  Loss loss(const TrainBatch& batch) {
    const LossCounts counts{batch.noisy_rows.numel(), batch.clean_rows.numel(), batch.region_rows.numel(),
                            batch.answer_tokens};
    return training_loss(network, batch, counts, train);
  }
};

// Cross entropies by hand from one row's logits.
double entropy_sum(Network& network, const Row& row, const Sample& sample,
                   const std::vector<Row::Scored>& scored) {
  const TrainBatch batch = collate({&row, 1}, {&sample, 1}, toy::kPad);
  const torch::Tensor logits = network->logits(network->hidden(batch.input))[0].to(torch::kFloat64);
  double sum = 0;
  for (const Row::Scored& s : scored) {
    double total = 0;
    for (int64_t v = 0; v < toy::kVocabulary; ++v) total += std::exp(logits[s.at][v].item<double>());
    sum += std::log(total) - logits[s.at][s.target].item<double>();
  }
  return sum;
}

TEST(Loss, IsTheWeightedSumOfMeanCrossEntropies) {
  Bench bench;
  bench.train.loss_weights = {0.5, 1.0};
  const Sample sample = bench.sample(1);
  const Layout layout = make_layout(32, sample.answers, 4);
  const Row row = make_row(sample, layout, bench.noise(sample, layout), toy::tokens(), {});
  const Loss loss = bench.loss(collate({&row, 1}, {&sample, 1}, toy::kPad));
  const double noisy = entropy_sum(bench.network, row, sample, row.noisy);
  const double clean = entropy_sum(bench.network, row, sample, row.clean);
  EXPECT_NEAR(loss.noisy, noisy, 1e-3);
  EXPECT_NEAR(loss.clean, clean, 1e-3);
  ASSERT_EQ(row.noisy.size(), 10u);  // 8 answer tokens, two of them <|im_end|> and masked twice
  ASSERT_EQ(row.clean.size(), 8u);
  EXPECT_NEAR(loss.total.item<double>(), 0.5 * noisy / 10 + 1.0 * clean / 8, 1e-4);
  bench.train.normalization = "num_items";
  const Loss items = bench.loss(collate({&row, 1}, {&sample, 1}, toy::kPad));
  EXPECT_NEAR(items.total.item<double>(), 0.5 * noisy / 16 + 1.0 * clean / 8, 1e-4);
}

TEST(Loss, RegionsAddTheirOwnWeightedMean) {
  Bench bench;
  Sample sample = bench.sample(1);
  sample.regions = {{4, {40}}, {7, {41, 42}}};
  const Layout layout = make_layout(32, sample.answers, 4);
  Row row = make_row(sample, layout, bench.noise(sample, layout), toy::tokens(), {});
  const double without = bench.loss(collate({&row, 1}, {&sample, 1}, toy::kPad)).total.item<double>();
  score_regions(row, sample);
  bench.train.region_weight = 0.25;
  const Loss loss = bench.loss(collate({&row, 1}, {&sample, 1}, toy::kPad));
  // By hand: the features themselves, through the final norm and the head.
  const torch::Tensor features = bench.network->encode_images(
      collate({&row, 1}, {&sample, 1}, toy::kPad).input.patches, {sample.visuals[0].grid});
  const auto log_p = torch::log_softmax(bench.network->logits(bench.network->normed(features)), -1);
  double regions = 0;
  for (const Row::Scored& s : row.regions)
    regions -= log_p[s.at - (row.tokens.size() - sample.ids.size()) - 4][s.target].item<double>();
  EXPECT_NEAR(loss.regions, regions, 1e-3);
  EXPECT_NEAR(loss.total.item<double>(), without + 0.25 * regions / 3, 1e-4);
}

TEST(Loss, OneCleanHalfForAPairEqualsTwoStackedRows) {
  Bench bench;
  std::vector<Sample> samples = {bench.sample(1), bench.sample(2)}, doubled;
  std::vector<Row> shared, stacked;
  for (const Sample& sample : samples) {
    const Layout layout = make_layout(32, sample.answers, 4);
    const auto copies = bench.noise(sample, layout);
    shared.push_back(make_row(sample, layout, copies, toy::tokens(), {}));
    for (size_t member = 0; member < 2; ++member) {
      stacked.push_back(
          make_row(sample, layout, {&copies[member], 1}, toy::tokens(), {.score_clean = member == 0}));
      doubled.push_back(sample);
    }
  }
  const auto gradients = [&](const TrainBatch& batch, double& total) {
    const Loss loss = bench.loss(batch);
    bench.network->zero_grad();
    loss.total.backward();
    total = loss.total.item<double>();
    std::vector<torch::Tensor> out;
    for (const torch::Tensor& parameter : bench.network->parameters())
      out.push_back(parameter.grad().clone());
    return out;
  };
  double one = 0, two = 0;
  const auto shared_gradients = gradients(collate(shared, samples, toy::kPad), one);
  const auto stacked_gradients = gradients(collate(stacked, doubled, toy::kPad), two);
  EXPECT_NEAR(one, two, 1e-5 * two);
  for (size_t i = 0; i < shared_gradients.size(); ++i) {
    const double size = stacked_gradients[i].norm().item<double>();
    EXPECT_LE((shared_gradients[i] - stacked_gradients[i]).norm().item<double>(), 2e-4 * size + 1e-6) << i;
  }
}

TEST(Loss, NoisyRowsNeverSeeTheirOwnAnswer) {
  Bench bench;
  const Sample sample = bench.sample(1);
  const Layout layout = make_layout(32, sample.answers, 4);
  MaskedFlags all(32, 0);
  for (size_t i = 0; i < 32; ++i) all[i] = layout.block[i] == 0;
  const Row row = make_row(sample, layout, {&all, 1}, toy::tokens(), {});
  Sample other = sample;
  other.ids[16] = 40;  // a token of the first block
  const Row changed = make_row(other, layout, {&all, 1}, toy::tokens(), {});
  const auto hidden = [&](const Row& r, const Sample& s) {
    return bench.network->hidden(collate({&r, 1}, {&s, 1}, toy::kPad).input)[0];
  };
  const torch::Tensor before = hidden(row, sample), after = hidden(changed, other);
  const int64_t noisy_end_of_block = 15 - 5 + 4;
  EXPECT_TRUE(
      before.slice(0, 0, noisy_end_of_block).allclose(after.slice(0, 0, noisy_end_of_block), 0, 1e-6));
  EXPECT_FALSE(before.slice(0, noisy_end_of_block).allclose(after.slice(0, noisy_end_of_block), 0, 1e-3));
}

TEST(Loss, CleanHalfIsExactlyTheAutoregressiveModel) {
  Bench bench;
  const Sample sample = bench.sample(1);
  const Layout layout = make_layout(32, sample.answers, 4);
  const Row dual = make_row(sample, layout, bench.noise(sample, layout), toy::tokens(), {});
  const Row plain = make_row(sample, layout, {}, toy::tokens(), {});
  const double from_dual = bench.loss(collate({&dual, 1}, {&sample, 1}, toy::kPad)).clean;
  bench.train.stage = "ar";
  const Loss ar = bench.loss(collate({&plain, 1}, {&sample, 1}, toy::kPad));
  EXPECT_NEAR(from_dual, ar.clean, 1e-3);
  EXPECT_NEAR(ar.total.item<double>(), ar.clean / 8, 1e-4);
}

TEST(Loss, AccumulatedPassesEqualOneBatch) {
  Bench bench;
  const std::vector<Sample> samples = {bench.sample(1), bench.sample(2)};
  std::vector<Row> rows;
  for (const Sample& sample : samples) {
    const Layout layout = make_layout(32, sample.answers, 4);
    rows.push_back(make_row(sample, layout, bench.noise(sample, layout), toy::tokens(), {}));
  }
  const TrainBatch whole = collate(rows, samples, toy::kPad);
  const LossCounts counts{whole.noisy_rows.numel(), whole.clean_rows.numel(), 0, whole.answer_tokens};
  double parts = 0;
  for (size_t i = 0; i < 2; ++i)
    parts +=
        training_loss(bench.network, collate({&rows[i], 1}, {&samples[i], 1}, toy::kPad), counts, bench.train)
            .total.item<double>();
  EXPECT_NEAR(parts, bench.loss(whole).total.item<double>(), 1e-5);
}

TEST(Optimizer, TakesTheStepOfAdamWByHand) {
  Bench bench;
  bench.train.beta1 = 0.9, bench.train.beta2 = 0.99, bench.train.weight_decay = 0.1,
  bench.train.clip_norm = 0;
  bench.train.ema_decay = 0.5;
  Optimizer optimizer(bench.network, bench.train);
  auto parameters = bench.network->named_parameters();
  torch::Tensor matrix = parameters["text.embedding"], vector = parameters["text.norm"];
  const double m0 = matrix[0][0].item<double>(), v0 = vector[0].item<double>();
  double mean = 0, square = 0, weight = m0, norm_weight = v0, average = m0;
  for (int step = 1; step <= 3; ++step) {
    const double gradient = 0.3 * step;
    matrix.mutable_grad()[0][0] = gradient;
    vector.mutable_grad()[0] = gradient;
    EXPECT_NEAR(optimizer.step(0.01), std::sqrt(2.0) * gradient, 1e-5);
    mean = 0.9 * mean + 0.1 * gradient, square = 0.99 * square + 0.01 * gradient * gradient;
    const double update =
        mean / (1 - std::pow(0.9, step)) / (std::sqrt(square / (1 - std::pow(0.99, step))) + 1e-8);
    weight = weight * (1 - 0.01 * 0.1) - 0.01 * update;
    norm_weight -= 0.01 * update;  // vectors do not decay
    const double decay = std::min(0.5, (1.0 + step) / (10.0 + step));
    average = decay * average + (1 - decay) * weight;
  }
  EXPECT_NEAR(matrix[0][0].item<double>(), weight, 1e-5);
  EXPECT_NEAR(vector[0].item<double>(), norm_weight, 1e-5);
  optimizer.swap_average();
  EXPECT_NEAR(matrix[0][0].item<double>(), average, 1e-5);
  optimizer.swap_average();
  EXPECT_NEAR(matrix[0][0].item<double>(), weight, 1e-5);
}

TEST(Optimizer, ClipsTheWholeGradient) {
  Bench one, ten;
  one.train.clip_norm = ten.train.clip_norm = 1;
  one.train.beta1 = ten.train.beta1 = 0;
  Optimizer first(one.network, one.train), second(ten.network, ten.train);
  const auto run = [](Bench& bench, Optimizer& optimizer, double scale) {
    for (auto& item : bench.network->named_parameters()) item.value().mutable_grad().fill_(scale);
    return optimizer.step(0.1);
  };
  EXPECT_NEAR(run(ten, second, 10) / run(one, first, 1), 10, 1e-3);
  EXPECT_TRUE(one.network->parameters()[0].allclose(ten.network->parameters()[0], 1e-4, 1e-6));
}

TEST(Optimizer, FreezesByPatternAndRefusesNonsense) {
  Bench bench;
  bench.train.freeze = {"visual.*"};
  const Optimizer optimizer(bench.network, bench.train);
  for (const auto& item : bench.network->named_parameters())
    EXPECT_EQ(item.value().requires_grad(), !item.key().starts_with("vision.")) << item.key();
  bench.train.freeze = {"nothing.*"};
  EXPECT_THROW(Optimizer(bench.network, bench.train), Error);
  bench.train.freeze = {"*"};
  EXPECT_THROW(Optimizer(bench.network, bench.train), Error);
  bench.train.freeze = {"*q_proj.weight"};
  EXPECT_THROW(Optimizer(bench.network, bench.train), Error);
}

TEST(Optimizer, PatternsMatchLikeGlobs) {
  EXPECT_TRUE(matches("visual.*", "visual.blocks.0.norm1.weight"));
  EXPECT_TRUE(matches("*.bias", "model.layers.0.self_attn.q_proj.bias"));
  EXPECT_TRUE(matches("model.layers.*.mlp.*", "model.layers.11.mlp.up_proj.weight"));
  EXPECT_FALSE(matches("visual", "visual.blocks"));
  EXPECT_FALSE(matches("visual.*", "model.visual.x"));
  EXPECT_TRUE(matches("**", ""));
}

}  // namespace
}  // namespace dvlm
