// What the AVX-512 and AMX kernels of linear() share. Not for other rooms.
#pragma once
#include "kernels/avx512.h"
#include "kernels/linear_tiles.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX512
namespace dvlm {
namespace {

constexpr int kVectors = 2;  // of 16 outputs: a panel

// The scales of 16 outputs, from the f16 line of an int4 panel.
inline __m512 group_scales(const std::byte* line) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(line)));
}

// The zero points of a group, as integers.
inline void group_zero_points(const std::byte* line, __m512i (&zero_points)[kVectors]) {
  const __m512i halves = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(line)));
  zero_points[0] = _mm512_and_si512(halves, _mm512_set1_epi32(15));
  zero_points[1] = _mm512_srli_epi32(halves, 4);
}

// Rounds to nearest even; NaN stays NaN.
__m512 round_to_bf16_vector(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x),
                odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i rounded = _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)));
  return _mm512_mask_mov_ps(_mm512_castsi512_ps(rounded), _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

// What turns sums of 16 outputs from `output` on into y: scales, bias, y itself; outputs that exist.
class Finish {
 public:
  Finish(const LinearJob& job, int output)
      : job_(job),
        output_(output),
        exist_(lanes_before(job.w->outputs(), output)),
        fp8_(job.w->format() == WeightFormat::fp8_panels),
        scales_(job.w->scales() ? _mm512_loadu_ps(job.w->scales() + output) : _mm512_setzero_ps()),
        bias_(job.w->bias() ? _mm512_loadu_ps(job.w->bias() + output) : _mm512_setzero_ps()) {}

  HWY_INLINE void operator()(__m512 sum, int row) const {
    if (job_.w->scales()) sum = _mm512_mul_ps(_mm512_mul_ps(sum, _mm512_set1_ps(job_.scales[row])), scales_);
    if (fp8_) sum = round_to_bf16_vector(sum);
    if (job_.w->bias()) {
      sum = _mm512_add_ps(sum, bias_);
      if (fp8_) sum = round_to_bf16_vector(sum);
    }
    float* y = job_.y.row(row) + output_;
    if (job_.mode == LinearMode::add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(exist_, y), sum);
    _mm512_mask_storeu_ps(y, exist_, sum);
  }

 private:
  const LinearJob& job_;
  int output_;
  __mmask16 exist_;
  bool fp8_;
  __m512 scales_, bias_;
};

// The same for one row. Not inlined: a tile would hold this once for each of its sums.
__attribute__((noinline)) inline void finish(__m512 sum, const LinearJob& job, int row, int output) {
  Finish(job, output)(sum, row);
}

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
