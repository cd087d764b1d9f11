// The loss of a training step (docs/reference.md, Training loss).
#pragma once
#include <torch/torch.h>

#include "torch/network.h"
#include "train/batch.h"
#include "train/config.h"

namespace dvlm {

// What a cross-entropy sum is divided by, over all passes of one optimiser step.
struct LossCounts {
  int64_t noisy = 0, clean = 0, regions = 0;  // scored rows
  int64_t answer_tokens = 0;                  // "num_items": labels of the clean streams
};

struct Loss {
  torch::Tensor total;                       // scalar to differentiate
  double noisy = 0, clean = 0, regions = 0;  // unweighted cross-entropy sums in nats
};

// total = w_noisy * sum_noisy / d_noisy + w_clean * sum_clean / d_clean. "mean": d are the scored rows of
// each kind; "num_items": d_clean = answer tokens, d_noisy = 2 * answer tokens with pairs. Without noisy rows
// total is the clean mean, whatever the weights: next-token training. Regions add region_weight * their mean.
// Summed over passes this is the loss of one large batch.
Loss training_loss(Network& network, const TrainBatch& batch, const LossCounts& counts,
                   const TrainConfig& config);

}  // namespace dvlm
