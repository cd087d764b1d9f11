// Linear layers with 256-bit dot products of four bytes, of processors without AVX-512 (Alder Lake and
// later).
#define DVLM_AVX2_FEATURES "avx2,fma,f16c,avxvnni"
#include "kernels/linear_avx2.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX2

namespace dvlm {

namespace {

constexpr int kVectors = kPanel / kLanes;
constexpr int kRows = 3;  // whose sums take 12 of the 16 registers

HWY_INLINE __m256i load(const std::byte* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// R rows times a panel of eight-bit weights. Inputs are 128 too large, because the instruction wants one side
// unsigned.
template <int R>
__attribute__((noinline)) void tile_bytes(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = input_block_words(InputForm::bytes), kStep = 4 * kPanel;
  const int first_row = job.first_row(row_block.number);
  const std::byte* w = job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes() +
                       static_cast<size_t>(row_block.first) * kPanel;
  const auto* x = reinterpret_cast<const int32_t*>(job.inputs) +
                  (static_cast<size_t>(first_row) * static_cast<size_t>(job.input_blocks) +
                   static_cast<size_t>(row_block.first / kInputBlock) * R) *
                      kWords;
  const PartialSums partial(job, row_block, panel);
  Prefetcher prefetcher(w, R, kPanel, job.w->panel_bytes(), row_block);
  __m256i sums[R][kVectors];
  const auto each = [&](const auto& use) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) use(r, v);
    }
  };
  each([&](int r, int v) __attribute__((always_inline)) {
    sums[r][v] =
        row_block.first == 0
            ? _mm256_setzero_si256()
            : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(partial.of(0) + r * kPanel + v * kLanes));
  });
  for (int first = row_block.first; first < row_block.last; first += kInputBlock, x += R * kWords) {
    const int steps = (std::min(kInputBlock, row_block.last - first) + 3) / 4;
    prefetcher.issue();
    for (int k = 0; k < steps; ++k, w += kStep) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m256i words = load(w + v * 32);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          sums[r][v] = _mm256_dpbusd_avx_epi32(sums[r][v], _mm256_set1_epi32(x[r * kWords + k]), words);
      }
    }
  }
  each([&](int r, int v) __attribute__((always_inline)) {
    const int output = panel * kPanel + v * kLanes;
    if (row_block.last < job.w->inputs()) {
      std::memcpy(partial.of(0) + r * kPanel + v * kLanes, &sums[r][v], sizeof sums[r][v]);
      return;
    }
    const auto* codes = reinterpret_cast<const __m256i*>(job.w->code_sums() + output);
    const __m256i excess = _mm256_slli_epi32(_mm256_loadu_si256(codes), 7);
    finish(_mm256_cvtepi32_ps(_mm256_sub_epi32(sums[r][v], excess)), job, first_row + r, output);
  });
}

// The same of four-bit weights, 8 of the first and 8 of the last 16 outputs at a time: the sums of a group of
// inputs are integers until they meet its scales.
template <int R>
__attribute__((noinline)) void tile_halves(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = Int4Place::kWords, kLine = Int4Place::kLine, kStep = 4 * Int4Place::kBytesPerInput;
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
      for (int b = 0; b < Int4Place::kInputBlocks; ++b) {
        if (output == 0) prefetcher.issue();
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
          const __m256i halves =
              load(w + (b * 4 + k) * kStep + static_cast<size_t>(output) * sizeof(int32_t));
          const __m256i first_codes = _mm256_and_si256(halves, low),
                        last_codes = _mm256_and_si256(_mm256_srli_epi32(halves, 4), low);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            const __m256i input = _mm256_set1_epi32(x[r * kLine + b * kWords + k]);
            codes[r][0] = _mm256_dpbusd_avx_epi32(codes[r][0], first_codes, input);
            codes[r][1] = _mm256_dpbusd_avx_epi32(codes[r][1], last_codes, input);
          }
        }
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

struct Bytes {
  static constexpr int kMaxRows = kRows;
  static constexpr InputForm kForm = InputForm::bytes;
  template <int R>
  static constexpr auto run = tile_bytes<R>;
};
struct Halves {
  static constexpr int kMaxRows = kRows;
  static constexpr InputForm kForm = InputForm::summed_bytes;
  template <int R>
  static constexpr auto run = tile_halves<R>;
};

}  // namespace

const LinearTiles* avx2_vnni_tiles(WeightFormat format) {
  if (format == WeightFormat::int8_panels) return panel_tiles<Bytes>();
  if (format == WeightFormat::int4_panels) return panel_tiles<Halves>();
  return highway_tiles(format);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
