// What the attention kernels for bf16 keys share on AVX-512. Not for other rooms.
#pragma once
#include <cmath>

#include "kernels/attention_task.h"
#include "kernels/avx512.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX512
namespace dvlm {
namespace {

constexpr int kLanes = 16, kBlocks = kChunk / kKvBlock;  // blocks of a chunk

// 2^x for x <= 0, to 3e-6 of itself; not a number for that and for infinities.
inline __m512 exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, 0), rest = _mm512_sub_ps(x, whole);
  __m512 y = _mm512_set1_ps(0.009570090904541535f);
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.05591786356258364f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.2402474513531528f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.6931218143997196f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.9999992613420429f));
  return _mm512_scalef_ps(y, whole);
}

// Turns the first `valid` scores of a chunk into weights 2^(factor score - maximum), zero beyond, pairs of
// bf16 in their place, and rescales what the query has gathered so far.
inline void online_softmax(float* scores, int valid, float factor, float& maximum, float& sum, float* output,
                           int padded) {
  const __m512 scale = _mm512_set1_ps(factor), lowest = _mm512_set1_ps(-INFINITY);
  __m512 score[kBlocks], highest = lowest;
  __mmask16 real[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    real[b] = lanes_before(valid, b * kLanes);
    score[b] = _mm512_mul_ps(_mm512_load_ps(scores + b * kLanes), scale);
    highest = _mm512_mask_max_ps(highest, real[b], highest, score[b]);
  }
  const float top = std::max(maximum, _mm512_reduce_max_ps(highest));
  __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const __m512 weight = _mm512_maskz_mov_ps(real[b], exp2(_mm512_sub_ps(score[b], _mm512_set1_ps(top))));
    const auto pairs = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(weight));
    _mm256_store_si256(reinterpret_cast<__m256i*>(scores) + b, pairs);
    // The sum is of what is multiplied: the rounded weights.
    total = _mm512_add_ps(total, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(pairs), 16)));
  }
  const float shrink = std::exp2(maximum - top);  // 0 in the first chunk
  sum = sum * shrink + _mm512_reduce_add_ps(total);
  maximum = top;
  if (shrink == 1.0f) return;
  for (int d = 0; d < padded; d += kLanes)
    _mm512_storeu_ps(output + d, _mm512_mul_ps(_mm512_loadu_ps(output + d), _mm512_set1_ps(shrink)));
}

// Query q has gathered nothing yet.
inline void begin_query(const AttentionTask& task, AttentionState& state, int q) {
  const int padded = task.shape->padded();
  std::fill_n(state.outputs + static_cast<ptrdiff_t>(q) * padded, padded, 0.0f);
  state.maxima[q] = -INFINITY;
  state.sums[q] = 0;
}

// What all queries have gathered becomes the task's outputs.
inline void finish_queries(const AttentionTask& task, const AttentionState& state) {
  const HeadShape& shape = *task.shape;
  for (int q = 0; q < task.queries(); ++q) {
    const float* output = state.outputs + static_cast<ptrdiff_t>(q) * shape.padded();
    float* out = task.query(q);
    const __m512 sum = _mm512_set1_ps(state.sums[q]);
    for (int d = 0; d < shape.head_dim; d += kLanes)
      _mm512_mask_storeu_ps(out + d, lanes_before(shape.head_dim, d),
                            _mm512_div_ps(_mm512_loadu_ps(output + d), sum));
  }
}

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
