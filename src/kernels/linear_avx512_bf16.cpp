// Linear layers with AVX-512's dot products of bf16 pairs: two products for each that an f32 multiply-add
// makes. e4m3 weights become bf16 by two byte permutes of 128 entries, exactly, just before they are
// multiplied.
#include "kernels/e4m3_pairs.h"
#include "kernels/linear_avx512_tile.h"

#if defined(__x86_64__)

DVLM_PUSH_AVX512

namespace dvlm {

namespace {

// How the words of a panel, 32 per step of inputs, meet a broadcast word of inputs.
struct Bf16Weights {
  static constexpr int kRegisters = kSumRegisters;
  static constexpr int kInputsPerStep = 2, kBytesPerInput = kPanel * 2;
  static constexpr InputForm kForm = InputForm::pairs;
  using Sum = __m512;
  using Word = __m512bh;
  static Sum add(Sum sum, Word weights, int32_t x) {
    return _mm512_dpbf16_ps(sum, weights, reinterpret_cast<__m512bh>(_mm512_set1_epi32(x)));
  }
  static void finish(Sum sum, const LinearJob& job, int row, int output) {
    dvlm::finish(sum, job, row, output);
  }
  template <int R, int P>
  static void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
    multiply_tile<Bf16Weights, R, P>(job, row_block, panel);
  }
  void load(const std::byte* p, Word* w) const {
    w[0] = reinterpret_cast<__m512bh>(_mm512_load_si512(p));
    w[1] = reinterpret_cast<__m512bh>(_mm512_load_si512(p + 64));
  }
};

struct Fp8Weights : Bf16Weights {
  static constexpr int kBytesPerInput = kPanel;
  E4m3Pairs pairs;
  template <int R, int P>
  static void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
    multiply_tile<Fp8Weights, R, P>(job, row_block, panel);
  }
  void load(const std::byte* p, __m512bh* w) const {
    __m512i words[2];
    pairs.dequantize(p, words);
    w[0] = reinterpret_cast<__m512bh>(words[0]);
    w[1] = reinterpret_cast<__m512bh>(words[1]);
  }
};

}  // namespace

const LinearTiles* avx512_bf16_tiles(WeightFormat format) {
  if (format == WeightFormat::bf16_panels) return tiles_for<Bf16Weights>();
  if (format == WeightFormat::fp8_panels) return tiles_for<Fp8Weights>();
  return avx512_vnni_tiles(format);
}

double avx512_bf16_multiply(int64_t rounds) {
  constexpr int kSums = 16;
  __m512 sums[kSums], total = _mm512_setzero_ps();
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));  // or they would be one
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3F80));             // 1
  const auto b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3080));             // 2^-30
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  }
#pragma GCC unroll 16
  for (const auto& sum : sums) total = _mm512_add_ps(total, sum);
  asm volatile("" : : "m"(total));
  return 2.0 * kSums * 32 * static_cast<double>(rounds);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
