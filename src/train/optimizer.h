// AdamW with gradient clipping and an exponential moving average of the weights. Each process of a run has
// the moments and the averages of the weights that it owns, see Buckets.
#pragma once
#include <torch/torch.h>

#include <string>
#include <vector>

#include "train/buckets.h"

namespace dvlm {

// A stretch of one tensor of a run's state, as one process owns it.
struct StatePiece {
  std::string name;            // "weight/", "m/", "v/" or "ema/" before the parameter's name
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin = 0;           // the stretch's first element
  torch::Tensor values;        // f32, flat: a view of what the optimiser works on
};

class Optimizer {
 public:
  // Matrices decay, vectors (norms, biases) do not. Throws Error as Buckets.
  Optimizer(Network& network, const TrainConfig& config, const Ranks& ranks = {});

  // See Buckets::end_pass().
  void end_pass() { buckets_.end_pass(); }
  // Clips the sum of all gradients to clip_norm, applies one update, forgets the gradients; returns their
  // norm before clipping. A norm that is not finite changes nothing, and the gradients are forgotten, too.
  double step(double learning_rate);

  // What makes a run continue exactly; of this process. Who writes to it calls resumed().
  std::vector<StatePiece> state() const;
  void resumed(int64_t steps);              // steps() when it was written
  int64_t steps() const { return steps_; }  // that changed the weights

  // Exchanges weights and their averages (nothing without EMA): call twice around saving or evaluating.
  void swap_average();

 private:
  void update(double learning_rate);

  TrainConfig config_;
  Ranks ranks_;
  Buckets buckets_;
  struct Moments {
    torch::Tensor m, v;     // as Bucket::own
    torch::Tensor average;  // with EMA
  };
  std::vector<Moments> moments_;  // of each bucket
  int64_t steps_ = 0;
};

}  // namespace dvlm
