#include "torch/plain.h"

#include "torch/recompute.h"

namespace dvlm::plain {
namespace {

using torch::Tensor;

// q [segments, heads, rows, head_dim], k and v [segments, kv_heads, columns, head_dim], mask [segments, 1,
// rows, columns] or undefined.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, bool causal) {
  const bool masked = mask.defined();
  const int64_t sharing = q.size(1) / k.size(1);
  // On a card, what takes a mask without writing all scores to memory knows no shared keys.
  const auto keys = [&](const Tensor& x) {
    return masked && sharing > 1 ? x.repeat_interleave(sharing, 1) : x;
  };
  return at::scaled_dot_product_attention(q, keys(k), keys(v), masked ? std::optional(mask) : std::nullopt,
                                          0.0, causal && !masked, std::nullopt, sharing > 1 && !masked);
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
              const layers::AttentionTile& tile) {
  const Tensor rows = q.slice(2, tile.begin, tile.end);
  if (tile.columns.empty()) return torch::zeros_like(rows);
  const auto run = [=, columns = tile.columns,
                    seen = mask.slice(2, tile.begin, tile.end)](const std::vector<Tensor>& in) {
    const auto visible = [&](const Tensor& x, int64_t dimension) {
      std::vector<Tensor> parts;
      parts.reserve(columns.size());
      for (const auto& [begin, end] : columns) parts.push_back(x.slice(dimension, begin, end));
      return parts.size() == 1 ? parts[0] : torch::cat(parts, dimension);
    };
    return std::vector{attend(in[0], visible(in[1], 2), visible(in[2], 2), visible(seen, 3), false)};
  };
  return recompute(run, {rows, k, v}, {})[0];
}

// `count` segments of equal length: q [count * length, heads, head_dim], k and v with kv_heads.
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, int64_t count,
              const layers::AttentionShape& shape) {
  const auto batched = [&](const Tensor& x) { return x.unflatten(0, {count, -1}).transpose(1, 2); };
  const Tensor queries = batched(q), keys = batched(k), values = batched(v);
  std::vector<Tensor> parts;
  for (const layers::AttentionTile& tile : shape.tiles)
    parts.push_back(attend(queries, keys, values, shape.mask, tile));
  const Tensor out =
      parts.empty() ? attend(queries, keys, values, shape.mask, shape.causal) : torch::cat(parts, 2);
  return out.transpose(1, 2).flatten(2).flatten(0, 1);
}

// x [rows, heads, head_dim] rotated by cosine and sine [rows, head_dim / 2].
Tensor rotate(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  const auto halves = x.to(torch::kFloat32).chunk(2, -1);
  const Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);
  return torch::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1).to(x.scalar_type());
}

}  // namespace

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

std::vector<layers::AttentionTile> tiles_of(const Tensor& mask) {
  constexpr int64_t kGap = 64;  // of columns that are not worth a range of their own
  const int64_t length = mask.size(2);
  if (length <= kTileRows) return {};
  std::vector<layers::AttentionTile> tiles;
  std::vector<Tensor> seen;
  for (int64_t begin = 0; begin < length; begin += kTileRows) {
    tiles.push_back({begin, std::min(begin + kTileRows, length), {}});
    seen.push_back(mask.slice(2, begin, tiles.back().end).any(2).flatten(0, 1).any(0));
  }
  const Tensor all = torch::stack(seen).cpu();  // [tiles, columns]
  const auto sees = all.accessor<bool, 2>();
  for (int64_t tile = 0; tile < std::ssize(tiles); ++tile) {
    auto& columns = tiles[static_cast<size_t>(tile)].columns;
    for (int64_t column = 0; column < length; ++column) {
      if (!sees[tile][column]) continue;
      if (columns.empty() || column - columns.back().second >= kGap) columns.emplace_back(column, column);
      columns.back().second = column + 1;
    }
  }
  return tiles;
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
