// AdamW with gradient clipping and an exponential moving average of the weights, shared by the processes of a
// run: each has all weights and gradients, and a part of the moments and the average (ZeRO, Rajbhandari et
// al., SC 2020), by which it updates its part of the weights.
#pragma once
#include <torch/torch.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "torch/network.h"
#include "train/config.h"
#include "train/ranks.h"

namespace dvlm {

// Gradients are summed in groups, and these in their order, whoever has them: the sum's bits do not depend on
// how many processes there are, as long as the number of groups stays. Nor do those of its norm, which is
// summed in blocks.
class Optimizer {
 public:
  // Weights whose checkpoint name matches a pattern of config.freeze stop requiring gradients; the others
  // move into one tensor. Throws Error when a pattern matches nothing, cuts through weights that the network
  // keeps fused (q, k and v; gate and up), or leaves nothing to train. Matrices decay, vectors (norms,
  // biases) do not. `groups`: of gradients that this process sums.
  Optimizer(Network& network, const TrainConfig& config, const Ranks& ranks = {}, int groups = 1);

  // From now on gradients are added to those of this group, which are zero at first.
  void begin_group(int group);

  // Clips the sum of all gradients to clip_norm, applies one update, forgets the gradients; returns their
  // norm before clipping. A norm that is not finite changes nothing, and the gradients are forgotten, too.
  double step(double learning_rate);

  // The tensors that make a run continue exactly, of all processes: "weight/", "m/", "v/" and "ema/" before
  // the parameter's name.
  std::map<std::string, torch::Tensor> state() const;
  // What was read into the tensors of state(), and after how many steps it was written.
  void set_state(const std::map<std::string, torch::Tensor>& state, int64_t steps);
  int64_t steps() const { return steps_; }

  // Exchanges weights and their averages (nothing without EMA): call twice around saving or evaluating.
  void swap_average();

 private:
  struct Parameter {
    std::string name;
    torch::Tensor value;
    int64_t at = 0;  // its first element among all
  };
  torch::Tensor own(const torch::Tensor& all) const;  // this process's part
  torch::Tensor sum_of_groups();
  double norm_of(const torch::Tensor& gradient) const;
  void update(const torch::Tensor& gradient, double learning_rate);
  void name(const char* kind, const torch::Tensor& all, std::map<std::string, torch::Tensor>& out) const;

  TrainConfig config_;
  Ranks ranks_;
  std::vector<Parameter> parameters_;
  int64_t decaying_ = 0;                  // elements, of all: those that decay stand first
  std::vector<int64_t> sizes_;            // of every process's part
  int64_t begin_ = 0;                     // of this one's
  torch::Tensor weights_;                 // all
  std::vector<torch::Tensor> gradients_;  // all, of each group
  torch::Tensor m_, v_, average_;         // this process's part
  torch::Tensor trained_;                 // while the averages are in the weights' place
  int64_t steps_ = 0;
};

// Does `name` match `pattern`, where '*' stands for any text?
bool matches(std::string_view pattern, std::string_view name);

}  // namespace dvlm
