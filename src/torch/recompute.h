// Activation checkpointing: a part of the network keeps its inputs alone, and is run again for its gradients.
#pragma once
#include <torch/torch.h>

#include <functional>
#include <vector>

namespace dvlm {

// A pure function of its inputs and of weights that it knows.
using NetworkPart = std::function<std::vector<torch::Tensor>(const std::vector<torch::Tensor>& inputs)>;

// part(inputs), with the same gradients for `inputs` and `weights`, which are all that `part` uses. `part`
// must live until the gradients are there.
std::vector<torch::Tensor> recompute(const NetworkPart& part, const std::vector<torch::Tensor>& inputs,
                                     const std::vector<torch::Tensor>& weights);

}  // namespace dvlm
