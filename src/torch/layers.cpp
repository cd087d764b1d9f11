#include "torch/layers.h"

#include <ATen/CPUGeneratorImpl.h>

#include <array>

#include "core/checksum.h"
#include "core/random.h"
#include "torch/cpu_layers.h"
#include "torch/plain.h"

namespace dvlm::layers {

std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps, torch::Dtype type) {
  return cpu::available(x, type) ? cpu::add_norm(x, delta, weight, eps)
                                 : plain::add_norm(x, delta, weight, eps, type);
}

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  const auto type = x.scalar_type();
  const torch::Tensor w = weight.to(type), b = bias.defined() ? bias.to(type) : bias;
  if (cpu::available(x, type) && cpu::multiplies_in_float()) return cpu::linear_in_float(x, w, b);
  return at::linear(x, w, b.defined() ? std::optional(b) : std::nullopt);
}

namespace {

// The same numbers for the same key and layer, on every device: layers may run twice (recompute.h).
torch::Tensor dropped(const torch::Tensor& x, double share, uint64_t key, const std::string& layer) {
  const std::array<uint32_t, 4> bits = philox(key, checksum(layer), 0);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(uint64_t{bits[0]} << 32 | bits[1]);
  const torch::Tensor kept = torch::empty(x.sizes()).bernoulli_(1 - share, generator).div_(1 - share);
  return x * kept.to(x.device(), x.scalar_type());
}

}  // namespace

torch::Tensor linear(const torch::Tensor& x, const Linear& layer, const AdapterUse& use) {
  torch::Tensor y = layers::linear(x, layer.weight, layer.bias);
  for (const Adapter& adapter : layer.adapters) {
    torch::Tensor in = use.rows.defined() ? x.index_select(0, use.rows) : x;
    if (use.dropout > 0) in = dropped(in, use.dropout, use.key, adapter.layer);
    const torch::Tensor added = layers::linear(layers::linear(in, adapter.a), adapter.b) * adapter.scale;
    torch::Tensor outputs = y.narrow(1, adapter.first, adapter.b.size(0));
    use.rows.defined() ? outputs.index_add_(0, use.rows, added) : outputs.add_(added);
  }
  return y;
}

torch::Tensor swiglu(const torch::Tensor& gate_up) {
  return cpu::available(gate_up, gate_up.scalar_type()) ? cpu::swiglu(gate_up) : plain::swiglu(gate_up);
}

std::vector<AttentionTile> attention_tiles(const torch::Tensor& mask, torch::Dtype type) {
  const bool needed = mask.defined() && !cpu::available(mask, type);
  return needed ? plain::tiles_of(mask) : std::vector<AttentionTile>();
}

torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const AttentionShape& shape) {
  const bool fast = cpu::available(qkv, qkv.scalar_type());
  return fast ? cpu::rotary_attention(qkv, cosine, sine, shape)
              : plain::rotary_attention(qkv, cosine, sine, shape);
}

}  // namespace dvlm::layers
