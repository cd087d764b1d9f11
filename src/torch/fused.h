// The layers for training on a CPU in bf16: each one pass over memory forward and one backward.
#pragma once
#include <utility>

#include "torch/layers.h"

namespace dvlm::fused {

// Whether the functions below can work on tensors like this one: on the CPU, bf16.
bool available(const torch::Tensor& like, torch::Dtype type);

// As layers::add_norm; delta may be undefined.
std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps);
// Whether linear() multiplies f32 copies: on x86 without AVX-512, where LibTorch would multiply bf16 matrices
// number by number (docs/measurements/2026-11-29-training-avx2.md).
bool multiplies_in_float();

// As layers::linear, all in bf16; the sums are f32.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);
torch::Tensor swiglu(const torch::Tensor& gate_up);
torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const layers::AttentionShape& shape);

}  // namespace dvlm::fused
