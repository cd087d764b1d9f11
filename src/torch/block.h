// The transformer block of which both towers are stacks.
#pragma once
#include <torch/torch.h>

#include <utility>
#include <vector>

#include "torch/layers.h"

namespace dvlm::towers {

// How a block runs in one pass.
struct BlockPass {
  std::pair<torch::Tensor, torch::Tensor> rotary;  // cosine and sine, f32 [rows, head_dim / 2]
  layers::AttentionShape shape;
  double eps = 0;       // of the norms
  torch::Dtype type{};  // of linears and attention
  layers::AdapterUse adapters = {};
  bool recompute = false;  // it keeps its inputs alone, and runs again for its gradients (recompute.h)
};

class Block : public torch::nn::Module {
 public:
  // `stream` is the residual stream, f32 [rows, hidden], and what the block before adds to it (in `type`;
  // none before the first). Returns both for the next. The block must live until the gradients are there.
  std::vector<torch::Tensor> run(const std::vector<torch::Tensor>& stream, const BlockPass& pass) const;

  torch::Tensor input_norm, post_norm;  // [hidden]: before attention, before the MLP
  layers::Linear qkv, output, gate_up, down;
};

}  // namespace dvlm::towers
