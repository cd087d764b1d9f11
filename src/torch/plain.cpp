#include "torch/plain.h"

namespace dvlm::plain {
namespace {

using torch::Tensor;

// `count` segments of equal length: q [count * length, heads, head_dim], k and v with kv_heads.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, int64_t count,
              const layers::AttentionShape& shape) {
  std::optional<Tensor> mask;
  if (shape.mask.defined()) mask = shape.mask;
  const auto batched = [&](const Tensor& x) { return x.unflatten(0, {count, -1}).transpose(1, 2); };
  // On a card, what takes a mask without writing all scores to memory knows no shared keys.
  const bool shared = shape.heads != shape.kv_heads;
  const auto keys = [&](const Tensor& x) {
    return shared && mask ? batched(x).repeat_interleave(shape.heads / shape.kv_heads, 1) : batched(x);
  };
  const Tensor out = at::scaled_dot_product_attention(batched(q), keys(k), keys(v), mask, 0.0,
                                                      shape.causal && !mask, std::nullopt, shared && !mask);
  return out.transpose(1, 2).flatten(2).flatten(0, 1);
}

}  // namespace

Tensor rotate(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  const auto halves = x.to(torch::kFloat32).chunk(2, -1);
  const Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);
  return torch::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1).to(x.scalar_type());
}

std::pair<Tensor, Tensor> add_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps,
                                   torch::Dtype type) {
  const Tensor sum = delta.defined() ? x + delta : x;
  const Tensor factor = torch::rsqrt(sum.square().mean(-1, true) + eps);
  return {sum, (sum * factor * weight).to(type)};
}

Tensor swiglu(const Tensor& gate_up) {
  const auto halves = gate_up.chunk(2, -1);
  return torch::silu(halves[0]) * halves[1];
}

Tensor rotary_attention(const Tensor& qkv, const Tensor& cosine, const Tensor& sine,
                        const layers::AttentionShape& shape) {
  const Tensor heads = qkv.unflatten(1, {-1, shape.head_dim});
  const Tensor q = rotate(heads.narrow(1, 0, shape.heads), cosine, sine);
  const Tensor k = rotate(heads.narrow(1, shape.heads, shape.kv_heads), cosine, sine);
  const Tensor v = heads.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads);
  const auto& ends = shape.cumulative;
  std::vector<Tensor> parts;
  for (size_t s = 0; s + 1 < ends.size();) {
    const int64_t length = ends[s + 1] - ends[s];
    size_t last = s + 1;  // segments of one length are one batch
    while (last + 1 < ends.size() && ends[last + 1] - ends[last] == length) ++last;
    const auto rows = [&](const Tensor& x) { return x.slice(0, ends[s], ends[last]); };
    parts.push_back(attend(rows(q), rows(k), rows(v), static_cast<int64_t>(last - s), shape));
    s = last;
  }
  return parts.size() == 1 ? parts[0] : torch::cat(parts);
}

}  // namespace dvlm::plain
