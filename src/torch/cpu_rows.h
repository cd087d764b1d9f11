// What the fused CPU layers do to rows: bf16 in memory, f32 in registers.
#pragma once
#include <cstdint>

#include "core/types.h"

namespace dvlm::rows {

struct SoftmaxSums {
  float log_sum;  // log of the sum of e^score; 0 when nothing is visible
  float inverse;  // what the probabilities are to be multiplied by; 0 when nothing is visible
};

// One of two neighbouring rows of attention's backward pass.
struct SoftmaxRow {
  const float* scores;
  const float* d_probabilities;
  const uint8_t* visible;
  float log_sum, delta;
  bf16* d_scores;
};

struct Kernels {
  // sum = x + delta (delta may be null), y = rms_norm(sum) * weight; sum is written when not null. Returns
  // the norm's factor 1 / sqrt(mean(sum^2) + eps).
  float (*add_norm)(const float* x, const bf16* delta, const float* weight, int n, float eps, float* sum,
                    bf16* y);
  // Gradients of add_norm. x is its sum, factor its result, d_sum the gradient that reaches the sum from
  // elsewhere (may be null). Writes d_x and, when not null, d_delta (the same in bf16); adds to d_weight.
  void (*add_norm_backward)(const bf16* d_y, const float* x, const float* weight, float factor,
                            const float* d_sum, int n, float* d_x, bf16* d_delta, float* d_weight);

  // gate_up [2 * n] -> silu(gate) * up [n], and its gradient.
  void (*swiglu)(const bf16* gate_up, int n, bf16* y);
  void (*swiglu_backward)(const bf16* gate_up, const bf16* d_y, int n, bf16* d_gate_up);

  // Rotates a head of 2 * half numbers; rotate_back undoes it (the transposed rotation, for gradients).
  void (*rotate)(const bf16* x, const float* cosine, const float* sine, int half, bf16* y);
  void (*rotate_back)(const float* x, const float* cosine, const float* sine, int half, bf16* y);

  // y = bf16(x * scale).
  void (*scale_row)(const float* x, float scale, int n, bf16* y);
  float (*dot)(const bf16* a, const bf16* b, int n);

  // Softmax of scale * scores over the visible columns. probabilities: e^(score - highest), not yet divided
  // by their sum; 0 where not visible. n is a multiple of 16.
  SoftmaxSums (*softmax)(const float* scores, const uint8_t* visible, int n, float scale,
                         bf16* probabilities);
  // Recomputes p = softmax(scale * scores) from log_sum and forms d_scores = p * (d_p - delta) * scale.
  // `pairs` interleave the two rows: element k of both, then k + 1 of both.
  void (*softmax_backward)(const SoftmaxRow& even, const SoftmaxRow& odd, int n, float scale,
                           bf16* probability_pairs, bf16* d_score_pairs);

  // out[2 * k] = even[k], out[2 * k + 1] = odd[k].
  void (*interleave)(const bf16* even, const bf16* odd, int n, bf16* out);
};

// Compiled for the best instruction set of this machine.
const Kernels& kernels();

}  // namespace dvlm::rows
