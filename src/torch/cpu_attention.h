// Rotary attention on the CPU in bf16, forward and backward, over bf16 tile or dot-product units. It reads q,
// k and v where the linear layer left them, never writes the [L, L] scores to memory, and skips what the mask
// hides.
#pragma once
#include <cstdint>
#include <span>

#include "core/types.h"

namespace dvlm {

struct CpuAttention {
  int heads = 0, kv_heads = 0, head_dim = 0;  // head_dim even
  std::span<const int64_t> cumulative;        // as AttentionShape
  bool causal = false;
  const bool* mask = nullptr;     // [segments, L, L] or null
  const bf16* qkv = nullptr;      // [rows, (heads + 2 * kv_heads) * head_dim]
  const float* cosine = nullptr;  // [rows, head_dim / 2]
  const float* sine = nullptr;

  // out [rows, heads * head_dim]; log_sums [rows, heads] for the backward pass.
  void forward(bf16* out, float* log_sums) const;
  // From what forward gave and the gradient of out: d_qkv, shaped as qkv.
  void backward(const bf16* out, const float* log_sums, const bf16* d_out, bf16* d_qkv) const;

  int width() const { return (heads + 2 * kv_heads) * head_dim; }
};

}  // namespace dvlm
