// The layers of both towers, as functions of tensors with gradients. Rows are tokens or patches: [rows,
// width].
#pragma once
#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dvlm::layers {

// The residual stream and the norm that follows it: x and weight f32, delta [rows, width] in `type` or
// undefined. Returns {x + delta, rms_norm(x + delta) * weight in `type`}.
std::pair<torch::Tensor, torch::Tensor> add_norm(const torch::Tensor& x, const torch::Tensor& delta,
                                                 const torch::Tensor& weight, double eps, torch::Dtype type);

// x [rows, in] in the compute type, f32 weight [out, in] and bias [out] (or undefined) -> [rows, out] in x's
// type.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {});

// What LoRA adds to the outputs of a linear layer from `first` on: scale * B (A x).
struct Adapter {
  std::string layer;   // in the checkpoint: "model.layers.0.self_attn.q_proj"
  int64_t first = 0;   // of the outputs that are the layer's, where several are one product
  torch::Tensor a, b;  // f32 [rank, inputs], [outputs, rank]
  double scale = 1;
};
struct Linear {
  torch::Tensor weight, bias;  // as above
  std::vector<Adapter> adapters = {};
};

// How adapters serve one pass.
struct AdapterUse {
  torch::Tensor rows;  // int64, those that they serve; undefined: all
  double dropout = 0;  // share of what enters an adapter that is 0 instead
  uint64_t key = 0;    // decides which
};
torch::Tensor linear(const torch::Tensor& x, const Linear& layer, const AdapterUse& use);

// [rows, 2 * width], gate beside up -> silu(gate) * up [rows, width].
torch::Tensor swiglu(const torch::Tensor& gate_up);

// Rows [begin, end) of each segment, and ranges of columns outside of which they see nothing.
struct AttentionTile {
  int64_t begin = 0, end = 0;
  std::vector<std::pair<int64_t, int64_t>> columns;  // [begin, end), ascending
};

// Who sees whom. Rows fall into consecutive segments that never see each other.
struct AttentionShape {
  int heads = 0, kv_heads = 0, head_dim = 0;
  std::vector<int64_t> cumulative;  // segment s is rows [cumulative[s], cumulative[s + 1])
  bool causal = false;              // inside a segment; otherwise every row of a segment sees all of it, or:
  torch::Tensor
      mask;  // bool [segments, 1, L, L] when defined (all segments L long): true = row may see column
  std::vector<AttentionTile> tiles = {};  // of the mask; empty: whoever attends looks for itself
};

// What rotary_attention() in `type` has to know of a mask beforehand, once for all layers.
std::vector<AttentionTile> attention_tiles(const torch::Tensor& mask, torch::Dtype type);

// Rotates the query and key heads of qkv [rows, (heads + 2 * kv_heads) * head_dim] by cosine and sine, f32
// [rows, head_dim / 2] (dimension j and j + head_dim / 2 share an angle), and attends. Result [rows, heads *
// head_dim]. A row that sees no column gets zeros.
torch::Tensor rotary_attention(const torch::Tensor& qkv, const torch::Tensor& cosine,
                               const torch::Tensor& sine, const AttentionShape& shape);

}  // namespace dvlm::layers
