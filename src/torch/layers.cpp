#include "torch/layers.h"

#include "torch/fused.h"
#include "torch/plain.h"

namespace dvlm::layers {

std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps, torch::Dtype type) {
  return fused::available(x, type) ? fused::add_norm(x, delta, weight, eps)
                                   : plain::add_norm(x, delta, weight, eps, type);
}

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  const auto type = x.scalar_type();
  return at::linear(x, weight.to(type), bias.defined() ? std::optional(bias.to(type)) : std::nullopt);
}

torch::Tensor swiglu(const torch::Tensor& gate_up) {
  return fused::available(gate_up, gate_up.scalar_type()) ? fused::swiglu(gate_up) : plain::swiglu(gate_up);
}

torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const AttentionShape& shape) {
  const bool fast = fused::available(qkv, qkv.scalar_type());
  return fast ? fused::rotary_attention(qkv, cosine, sine, shape)
              : plain::rotary_attention(qkv, cosine, sine, shape);
}

}  // namespace dvlm::layers
