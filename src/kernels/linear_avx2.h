// What the kernels of linear() on 256-bit vectors share. Not for other rooms.
#pragma once
#include "kernels/linear_tiles.h"

#if defined(__x86_64__)
#include <hwy/base.h>
#include <immintrin.h>

// A file that is for processors with more says so before it includes this.
#ifndef DVLM_AVX2_FEATURES
#define DVLM_AVX2_FEATURES "avx2,fma,f16c"
#endif
#define DVLM_PUSH_AVX2 HWY_PUSH_ATTRIBUTES(DVLM_AVX2_FEATURES)

DVLM_PUSH_AVX2
namespace dvlm {
namespace {

constexpr int kLanes = 8;

inline __m256 group_scales(const std::byte* line) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(line)));
}

// What the zero points of outputs `output` + [0, 8) and 16 + `output` + [0, 8) take from the products of R
// rows, whose sums of inputs (linear_tiles.h) stand `line` words apart.
template <int R>
HWY_INLINE void begin_with_zero_points(const std::byte* zero_points, int output, const int32_t* sums,
                                       int line, __m256i (&codes)[R][2]) {
  const __m256i halves =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(zero_points + output)));
  const __m256i first = _mm256_and_si256(halves, _mm256_set1_epi32(15)), last = _mm256_srli_epi32(halves, 4);
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
    const __m256i sum = _mm256_set1_epi32(sums[r * line]);
    codes[r][0] = _mm256_madd_epi16(first, sum);
    codes[r][1] = _mm256_madd_epi16(last, sum);
  }
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
    const __m256 scale = group_scales(scales + static_cast<size_t>(at) * sizeof(f16));
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
