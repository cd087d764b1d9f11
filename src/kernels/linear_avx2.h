// What the kernels of linear() on 256-bit vectors share. Not for other rooms.
#pragma once
#include "kernels/linear_tiles.h"

#if defined(__x86_64__)
#include <hwy/base.h>
#include <immintrin.h>

// A file that is for processors with more says so before it includes this.
#ifndef DVLM_AVX2_FEATURES
#define DVLM_AVX2_FEATURES "avx2,fma"
#endif
#define DVLM_PUSH_AVX2 HWY_PUSH_ATTRIBUTES(DVLM_AVX2_FEATURES)

DVLM_PUSH_AVX2
namespace dvlm {
namespace {

constexpr int kLanes = 8;

inline __m256 group_scales(const std::byte* line) {
  const auto bits = _mm_load_si128(reinterpret_cast<const __m128i*>(line));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

// The sums of 8 outputs from `output` on become y: scales, bias, y itself; outputs that exist.
inline void finish(__m256 sum, const LinearJob& job, int row, int output) {
  sum = _mm256_mul_ps(_mm256_mul_ps(sum, _mm256_set1_ps(job.scales[row])),
                      _mm256_loadu_ps(job.w->scales() + output));
  if (job.w->bias()) sum = _mm256_add_ps(sum, _mm256_loadu_ps(job.w->bias() + output));
  const __m256i exist = _mm256_cmpgt_epi32(_mm256_set1_epi32(job.w->outputs() - output),
                                           _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  float* y = job.y.row(row) + output;
  if (job.mode == LinearMode::add) sum = _mm256_add_ps(_mm256_maskload_ps(y, exist), sum);
  _mm256_maskstore_ps(y, exist, sum);
}

// sums += the integers of R rows and a group of inputs times its scales; outputs `output` + [0, 8) and
// 16 + `output` + [0, 8).
template <int R>
HWY_INLINE void add_scaled(const __m256i (&integers)[R][2], const std::byte* scales, int output,
                           float (&sums)[R][kPanel]) {
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    const int at = 16 * v + output;
    const __m256 scale = group_scales(scales + static_cast<size_t>(at) * sizeof(bf16));
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      float* sum = sums[r] + at;
      const __m256 values = _mm256_cvtepi32_ps(integers[r][v]);
      _mm256_store_ps(sum, _mm256_fmadd_ps(values, scale, _mm256_load_ps(sum)));
    }
  }
}

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
