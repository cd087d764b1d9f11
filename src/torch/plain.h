// The layers written with LibTorch's own operators: what every device and number type can run, and the
// formula that the fused CPU functions are tested against.
#pragma once
#include "torch/layers.h"

namespace dvlm::plain {

std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps, torch::Dtype type);
torch::Tensor swiglu(const torch::Tensor& gate_up);
constexpr int64_t kTileRows = 512;
// Stretches of so many rows of a mask [segments, 1, L, L]; none where all rows are one.
std::vector<layers::AttentionTile> tiles_of(const torch::Tensor& mask);
// Of the mask's tiles attends to what each can see alone, and again for its gradients: no layer keeps scores,
// or keys for each query head.
torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const layers::AttentionShape& shape);

}  // namespace dvlm::plain
