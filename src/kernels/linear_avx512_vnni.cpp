// Linear layers with AVX-512's dot products of four bytes: four products for each that an f32 multiply-add
// makes.
#define DVLM_AVX512_FEATURES "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#include "kernels/linear_avx512_tile.h"

#if defined(__x86_64__)

DVLM_PUSH_AVX512

namespace dvlm {

namespace {

// Inputs are 128 too large, because the instruction wants one side unsigned: finish() takes that off again.
struct Int8Weights {
  static constexpr int kRegisters = kSumRegisters;
  static constexpr int kInputsPerStep = 4, kBytesPerInput = kPanel;
  static constexpr InputForm kForm = InputForm::bytes;
  using Sum = __m512i;
  using Word = __m512i;
  static Sum add(Sum sum, Word weights, int32_t x) {
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(x), weights);
  }
  static void finish(Sum sum, const LinearJob& job, int row, int output) {
    const __m512i excess = _mm512_slli_epi32(_mm512_loadu_si512(job.w->code_sums() + output), 7);
    dvlm::finish(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, excess)), job, row, output);
  }
  template <int R, int P>
  static void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
    multiply_tile<Int8Weights, R, P>(job, row_block, panel);
  }
  void load(const std::byte* p, Word* w) const {
    w[0] = _mm512_load_si512(p);
    w[1] = _mm512_load_si512(p + 64);
  }
};

// sums += the integers of R rows and a group of inputs times its scales.
template <int R>
HWY_INLINE void add_scaled(const __m512i (&integers)[R][kVectors], const std::byte* scales,
                           float (&sums)[R][kPanel]) {
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = group_scales(scales + v * 32);
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      float* sum = sums[r] + v * 16;
      const __m512 values = _mm512_cvtepi32_ps(integers[r][v]);
      _mm512_store_ps(sum, _mm512_fmadd_ps(values, scale, _mm512_load_ps(sum)));
    }
  }
}

// The same for weights of four bits: the sums of a group of inputs are integers until they meet its scales.
template <int R, int P>
__attribute__((noinline)) void tile_int4(const LinearJob& job, const RowBlock& row_block, int first_panel) {
  constexpr int kWords = Int4Place::kWords, kLine = Int4Place::kLine;
  const size_t panel_bytes = job.w->panel_bytes();
  Int4Place place(job, row_block, first_panel);
  const __m512i low = _mm512_set1_epi8(15);
  Prefetcher prefetcher(place.weights, R, Int4Place::kBytesPerInput, panel_bytes * P, row_block);
  const PartialSums partial(job, row_block, first_panel);
  alignas(64) float sums[P][R][kPanel];  // in memory: the integers need the registers
  for (int p = 0; p < P; ++p) partial.load(p, sums[p][0]);
  for (int first = row_block.first; first < row_block.last; first += kInt4Group, place.next_group(R)) {
    const std::byte* w = place.weights;
    const int32_t* x = place.x;
    __m512i codes[P][R][kVectors];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      __m512i zero_points[kVectors];
      group_zero_points(place.groups.zero_points + static_cast<size_t>(p) * panel_bytes, zero_points);
      each_sum<1, R>([&](int, int r, int v) DVLM_INLINE {
        codes[p][r][v] = _mm512_madd_epi16(zero_points[v], _mm512_set1_epi32(x[r * kLine + kLine - 1]));
      });
    }
#pragma GCC unroll 4
    for (int b = 0; b < Int4Place::kInputBlocks; ++b) {
      prefetcher.issue();
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k, w += 64) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          const __m512i halves = _mm512_load_si512(w + static_cast<size_t>(p) * panel_bytes);
          const __m512i words[] = {_mm512_and_si512(halves, low),
                                   _mm512_and_si512(_mm512_srli_epi32(halves, 4), low)};
          each_sum<1, R>([&](int, int r, int v) DVLM_INLINE {
            const __m512i input = _mm512_set1_epi32(x[r * kLine + b * kWords + k]);
            codes[p][r][v] = _mm512_dpbusd_epi32(codes[p][r][v], words[v], input);
          });
        }
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
      add_scaled<R>(codes[p], place.groups.scales + static_cast<size_t>(p) * panel_bytes, sums[p]);
  }
  const int first_row = job.first_row(row_block.number);
  for (int p = 0; p < P; ++p) {
    if (partial.store(p, sums[p][0])) continue;
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kVectors; ++v)
        finish(_mm512_load_ps(sums[p][r] + v * 16), job, first_row + r, (first_panel + p) * kPanel + v * 16);
    }
  }
}

struct Int4Weights {                     // what tile_int4 multiplies
  static constexpr int kRegisters = 16;  // up to 8 rows: their inputs, a broadcast each, need more of them
  static constexpr InputForm kForm = InputForm::summed_bytes;
  template <int R, int P>
  static void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
    tile_int4<R, P>(job, row_block, panel);
  }
};

}  // namespace

const LinearTiles* avx512_vnni_tiles(WeightFormat format) {
  if (format == WeightFormat::int8_panels) return tiles_for<Int8Weights>();
  if (format == WeightFormat::int4_panels) return tiles_for<Int4Weights>();
  return highway_tiles(format);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
