// AdamW with gradient clipping and an exponential moving average of the weights.
#pragma once
#include <torch/torch.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "torch/network.h"
#include "train/config.h"

namespace dvlm {

class Optimizer {
 public:
  // Weights whose checkpoint name matches a pattern of config.freeze stop requiring gradients. Throws Error
  // when a pattern matches nothing, cuts through weights that the network keeps fused (q, k and v; gate and
  // up), or leaves nothing to train. Matrices decay, vectors (norms, biases) do not.
  Optimizer(Network& network, const TrainConfig& config);

  // Clips the accumulated gradients to clip_norm, applies one update, forgets the gradients; returns their
  // norm before clipping. A norm that is not finite changes nothing, and the gradients are forgotten, too.
  double step(double learning_rate);

  // The tensors that make a run continue exactly: "weight/", "m/", "v/" and "ema/" before the parameter's
  // name.
  std::map<std::string, torch::Tensor> state() const;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);  // after the tensors of state() were filled in place

  // Exchanges weights and their averages (nothing without EMA): call twice around saving or evaluating.
  void swap_average();

 private:
  struct Group {  // parallel arrays
    std::vector<std::string> names;
    std::vector<torch::Tensor> weights, m, v, steps;
    double weight_decay = 0;
  };
  void forget_gradients();

  Group groups_[2];
  std::vector<torch::Tensor> weights_, average_;  // of both groups in order
  TrainConfig config_;
  int64_t steps_ = 0;
};

// Does `name` match `pattern`, where '*' stands for any text?
bool matches(std::string_view pattern, std::string_view name);

}  // namespace dvlm
