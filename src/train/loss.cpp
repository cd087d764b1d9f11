#include "train/loss.h"

#include <algorithm>

#include "torch/head_loss.h"

namespace dvlm {

Loss training_loss(Network& network, const TrainBatch& batch, const LossCounts& counts,
                   const TrainConfig& config) {
  const torch::Tensor embedded = network->embed(batch.input);
  const torch::Tensor hidden = network->hidden(batch.input, embedded).flatten(0, 1);
  const int64_t noisy_rows = batch.noisy_rows.numel(), clean_rows = batch.clean_rows.numel(),
                region_rows = batch.region_rows.numel();
  // Only rows with a label go through the head.
  std::vector<torch::Tensor> scored = {
      hidden.index_select(0, torch::cat({batch.noisy_rows, batch.clean_rows}))};
  if (region_rows > 0) scored.push_back(network->normed(embedded.index_select(0, batch.region_rows)));

  const auto share = [](double weight, int64_t count) {
    return weight / static_cast<double>(std::max<int64_t>(count, 1));
  };
  const bool convert = config.stage != "ar", mean = config.normalization == "mean";
  const int64_t copies = config.complementary ? 2 : 1;
  const double noisy_weight =
                   share(config.loss_weights.noisy, mean ? counts.noisy : copies * counts.answer_tokens),
               clean_weight = share(config.loss_weights.clean, mean ? counts.clean : counts.answer_tokens);
  const auto weights = [&](int64_t rows, double weight) {
    return torch::full({rows}, weight, hidden.options().requires_grad(false));
  };
  const HeadLoss all =
      head_loss(torch::cat(scored), network->head(),
                torch::cat({batch.noisy_targets, batch.clean_targets, batch.region_targets}),
                torch::cat({weights(noisy_rows, convert ? noisy_weight : 0),
                            weights(clean_rows, convert ? clean_weight : share(1, counts.clean)),
                            weights(region_rows, share(config.region_weight, counts.regions))}));
  const auto sum = [&](int64_t begin, int64_t rows) {
    return all.rows.narrow(0, begin, rows).sum(torch::kFloat64).item<double>();
  };
  return {all.total, sum(0, noisy_rows), sum(noisy_rows, clean_rows),
          sum(noisy_rows + clean_rows, region_rows)};
}

}  // namespace dvlm
