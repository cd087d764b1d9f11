#include "torch/layers.h"

#include "torch/plain.h"

namespace dvlm::layers {

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps, torch::Dtype type) {
  return plain::rms_norm(x, weight, eps, type);
}

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  const auto type = x.scalar_type();
  return at::linear(x, weight.to(type), bias.defined() ? std::optional(bias.to(type)) : std::nullopt);
}

torch::Tensor swiglu(const torch::Tensor& gate_up) {
  return plain::swiglu(gate_up);
}

torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const AttentionShape& shape) {
  return plain::rotary_attention(qkv, cosine, sine, shape);
}

}  // namespace dvlm::layers
