#include "torch/block.h"

#include <tuple>

#include "torch/recompute.h"

namespace dvlm::towers {

using torch::Tensor;

std::vector<Tensor> Block::run(const std::vector<Tensor>& stream, const BlockPass& pass) const {
  const auto part = [this, pass](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    const auto& [cosine, sine] = pass.rotary;
    const Tensor delta = in.size() > 1 ? in[1] : Tensor();
    auto [x, y] = layers::add_norm(in[0], delta, input_norm, pass.eps, pass.type);   // [rows, hidden]
    y = layers::linear(y, qkv, pass.adapters);                                       // [rows, q, k, v]
    y = layers::rotary_attention(y, cosine, sine, pass.shape);                       // [rows, heads]
    const Tensor attended = layers::linear(y, output, pass.adapters);                // [rows, hidden]
    std::tie(x, y) = layers::add_norm(x, attended, post_norm, pass.eps, pass.type);  // [rows, hidden]
    y = layers::swiglu(layers::linear(y, gate_up, pass.adapters));                   // [rows, inner]
    return {x, layers::linear(y, down, pass.adapters)};                              // [rows, hidden]
  };
  return pass.recompute ? recompute(part, stream, parameters()) : part(stream);
}

}  // namespace dvlm::towers
