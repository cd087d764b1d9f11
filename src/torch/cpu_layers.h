// The layers for training on a CPU in bf16: each one pass over memory forward and one backward.
#pragma once
#include <utility>

#include "torch/layers.h"

namespace dvlm::cpu {

// Whether the functions below can work on tensors like this one: on the CPU, bf16.
bool available(const torch::Tensor& like, torch::Dtype type);

// Whether linear layers are to be linear_in_float(): on x86 without AVX-512, where LibTorch multiplies bf16
// matrices number by number (docs/measurements/2026-11-29-training-avx2.md).
bool multiplies_in_float();

// As in layers, all matrices in bf16. linear_in_float() multiplies f32 copies; of add_norm() delta may be
// undefined.
std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps);
torch::Tensor linear_in_float(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);
torch::Tensor swiglu(const torch::Tensor& gate_up);
torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const layers::AttentionShape& shape);

}  // namespace dvlm::cpu
