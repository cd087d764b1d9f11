// Linear layers with four-bit weights on AVX2: products of bytes, summed in 16 and then in 32 bits, several
// for each that an f32 multiply-add makes. The sums are those of linear_avx512_vnni.cpp to the bit.
#include "kernels/linear_avx2.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX2

namespace dvlm {

namespace {

// Rows whose sums of 16 outputs, in 16 bits, take half of the 16 registers. A fifth gains nothing.
constexpr int kRows = 4;

// Sums in 16 bits of R rows and 16 outputs. Not an array, which this compiler would keep in memory.
template <int R>
struct Shorts {
  __m256i low, high;
  Shorts<R - 1> others;
  HWY_INLINE void clear() {
    low = high = _mm256_setzero_si256();
    others.clear();
  }
  // `x`: the row's word of four inputs, others' a line further each.
  HWY_INLINE void add(__m256i first, __m256i last, const int32_t* x, int line) {
    const __m256i input = _mm256_set1_epi32(*x);
    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(first, input));
    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(last, input));
    asm("" : "+x"(low), "+x"(high));  // or the compiler adds later and spills what it has not added
    others.add(first, last, x + line, line);
  }
  HWY_INLINE void add_to(__m256i (*codes)[2]) const {
    const __m256i ones = _mm256_set1_epi16(1);
    codes[0][0] = _mm256_add_epi32(codes[0][0], _mm256_madd_epi16(low, ones));
    codes[0][1] = _mm256_add_epi32(codes[0][1], _mm256_madd_epi16(high, ones));
    others.add_to(codes + 1);
  }
};
template <>
struct Shorts<0> {
  HWY_INLINE void clear() {}
  HWY_INLINE void add(__m256i, __m256i, const int32_t*, int) {}
  HWY_INLINE void add_to(__m256i (*)[2]) const {}
};

// R rows times a panel, 8 of the first and 8 of the last 16 outputs at a time.
template <int R>
void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kInputBlocks = Int4Place::kInputBlocks, kWords = Int4Place::kWords, kLine = Int4Place::kLine;
  constexpr int kStep = 4 * Int4Place::kBytesPerInput;  // bytes for four inputs
  // Two input blocks are 8 steps, whose sums fit 16 bits.
  constexpr int kShortBlocks = 2;
  static_assert(kShortBlocks * (kInputBlock / 4) * 2 * 15 * 127 < (1 << 15) &&
                kInputBlocks % kShortBlocks == 0);
  Int4Place place(job, row_block, panel);
  const __m256i low = _mm256_set1_epi8(15);
  Prefetcher prefetcher(place.weights, R, Int4Place::kBytesPerInput, job.w->panel_bytes(), row_block);
  const PartialSums partial(job, row_block, panel);
  alignas(32) float sums[R][kPanel];
  partial.load(0, sums[0]);
  for (int first = row_block.first; first < row_block.last; first += kInt4Group, place.next_group(R)) {
    const std::byte* w = place.weights;
    const int32_t* x = place.x;
    for (int output = 0; output < 16; output += kLanes) {
      __m256i codes[R][2];
      begin_with_zero_points<R>(place.groups.zero_points, output, x + kLine - 1, kLine, codes);
      for (int from = 0; from < kInputBlocks; from += kShortBlocks) {
        Shorts<R> shorts;
        shorts.clear();
#pragma GCC unroll 2
        for (int b = from; b < from + kShortBlocks; ++b) {
          if (output == 0) prefetcher.issue();
#pragma GCC unroll 4
          for (int k = 0; k < 4; ++k) {
            const __m256i halves = _mm256_load_si256(
                reinterpret_cast<const __m256i*>(w + (b * 4 + k) * kStep + output * sizeof(int32_t)));
            shorts.add(_mm256_and_si256(halves, low), _mm256_and_si256(_mm256_srli_epi32(halves, 4), low),
                       x + b * kWords + k, kLine);
          }
        }
        shorts.add_to(codes);
      }
      add_scaled<R>(codes, place.groups.scales, output, sums);
    }
  }
  if (partial.store(0, sums[0])) return;
  for (int r = 0; r < R; ++r) {
    for (int output = 0; output < kPanel; output += kLanes)
      finish(_mm256_load_ps(sums[r] + output), job, job.first_row(row_block.number) + r,
             panel * kPanel + output);
  }
}

struct Halves {
  static constexpr int kMaxRows = kRows;
  static constexpr InputForm kForm = InputForm::summed_bytes;
  template <int R>
  static constexpr auto run = tile<R>;
};

}  // namespace

const LinearTiles* avx2_int4_tiles() {
  return panel_tiles<Halves>();
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
