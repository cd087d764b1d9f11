#include "train/loss.h"

#include <algorithm>

namespace dvlm {

namespace {

// oneDNN compiles a kernel for each new shape: sizes that differ from batch to batch are rounded up.
constexpr int64_t kRowQuantum = 512;

torch::Tensor padded(const torch::Tensor& rows) {
  return torch::constant_pad_nd(rows, {0, 0, 0, (kRowQuantum - rows.size(0) % kRowQuantum) % kRowQuantum});
}

torch::Tensor cross_entropy_sum(const torch::Tensor& logits, const torch::Tensor& targets) {
  return torch::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum);
}

}  // namespace

Loss training_loss(Network& network, const TrainBatch& batch, const LossCounts& counts,
                   const TrainConfig& config) {
  const torch::Tensor embedded = network->embed(batch.input);
  const torch::Tensor hidden = network->hidden(batch.input, embedded).flatten(0, 1);
  const int64_t noisy_rows = batch.noisy_rows.numel(), clean_rows = batch.clean_rows.numel();
  // Only rows with a label go through the head, in float whatever the autocast says.
  std::vector<torch::Tensor> scored = {
      hidden.index_select(0, torch::cat({batch.noisy_rows, batch.clean_rows}))};
  if (batch.region_rows.numel() > 0)
    scored.push_back(network->normed(embedded.index_select(0, batch.region_rows)));
  const torch::Tensor logits = network->logits(padded(torch::cat(scored))).to(torch::kFloat32);
  const torch::Tensor noisy = cross_entropy_sum(logits.narrow(0, 0, noisy_rows), batch.noisy_targets);
  const torch::Tensor clean =
      cross_entropy_sum(logits.narrow(0, noisy_rows, clean_rows), batch.clean_targets);
  const torch::Tensor regions = cross_entropy_sum(
      logits.narrow(0, noisy_rows + clean_rows, batch.region_rows.numel()), batch.region_targets);

  const auto share = [](double weight, int64_t count) {
    return weight / static_cast<double>(std::max<int64_t>(count, 1));
  };
  Loss loss;
  if (config.stage == "ar") {
    loss.total = clean * share(1, counts.clean);
  } else {
    const bool mean = config.normalization == "mean";
    const int64_t copies = config.complementary ? 2 : 1;
    loss.total =
        noisy * share(config.loss_weights.noisy, mean ? counts.noisy : copies * counts.answer_tokens) +
        clean * share(config.loss_weights.clean, mean ? counts.clean : counts.answer_tokens);
  }
  if (config.region_weight > 0)
    loss.total = loss.total + regions * share(config.region_weight, counts.regions);
  loss.noisy = noisy.item<double>();
  loss.clean = clean.item<double>();
  loss.regions = regions.item<double>();
  return loss;
}

}  // namespace dvlm
