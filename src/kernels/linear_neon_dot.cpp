// Linear layers with NEON's dot products of four bytes (Armv8.2: Cortex-A76 and later).
#define DVLM_NEON_FEATURES "arch=armv8.2-a+dotprod"
#include "kernels/linear_neon.h"

#if defined(__aarch64__)
DVLM_PUSH_NEON

namespace dvlm {

namespace {

constexpr int kRows = 3;  // whose sums take 24 of the 32 registers

// Calls use(r, v) for every vector of sums of R rows, unrolled.
template <int R, class Use>
HWY_INLINE void each_sum(const Use& use) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) use(r, v);
  }
}

HWY_INLINE int8x16_t four_inputs(const int32_t* x) {
  return vreinterpretq_s8_s32(vld1q_dup_s32(x));
}

// R rows times a panel of eight-bit weights.
template <int R>
__attribute__((noinline)) void tile_bytes(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = input_block_words(InputForm::signed_bytes), kStep = 4 * kPanel;
  const int first_row = job.first_row(row_block.number);
  const auto* w = reinterpret_cast<const int8_t*>(job.w->data()) +
                  static_cast<size_t>(panel) * job.w->panel_bytes() +
                  static_cast<size_t>(row_block.first) * kPanel;
  const auto* x = reinterpret_cast<const int32_t*>(job.inputs) +
                  (static_cast<size_t>(first_row) * static_cast<size_t>(job.input_blocks) +
                   static_cast<size_t>(row_block.first / kInputBlock) * R) *
                      kWords;
  const PartialSums partial(job, row_block, panel);
  Prefetcher prefetcher(w, R, kPanel, job.w->panel_bytes(), row_block);
  int32x4_t sums[R][kVectors];
  each_sum<R>([&](int r, int v) __attribute__((always_inline)) {
    sums[r][v] = row_block.first == 0
                     ? vdupq_n_s32(0)
                     : vreinterpretq_s32_f32(vld1q_f32(partial.of(0) + r * kPanel + v * kLanes));
  });
  for (int first = row_block.first; first < row_block.last; first += kInputBlock, x += R * kWords) {
    const int steps = (std::min(kInputBlock, row_block.last - first) + 3) / 4;
    prefetcher.issue();
    for (int k = 0; k < steps; ++k, w += kStep) {
      int8x16_t inputs[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) inputs[r] = four_inputs(x + r * kWords + k);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int8x16_t words = vld1q_s8(w + v * 16);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sums[r][v] = vdotq_s32(sums[r][v], words, inputs[r]);
      }
    }
  }
  if (row_block.last < job.w->inputs()) {
    each_sum<R>([&](int r, int v) __attribute__((always_inline)) {
      vst1q_f32(partial.of(0) + r * kPanel + v * kLanes, vreinterpretq_f32_s32(sums[r][v]));
    });
    return;
  }
  for (int r = 0; r < R; ++r)
    finish_row(job, first_row + r, panel, [&](int v) { return vcvtq_f32_s32(sums[r][v]); });
}

// What the zero points of a group take from the products of R rows, whose sums of inputs (linear_tiles.h)
// stand a line apart.
template <int R>
HWY_INLINE void begin_with_zero_points(const std::byte* zero_points, const int32_t* sums,
                                       int32x4_t (&codes)[R][kVectors]) {
  int32_t words[kPanel];
  spread_zero_points(zero_points, words);
  each_sum<R>([&](int r, int v) __attribute__((always_inline)) {
    codes[r][v] = vmulq_n_s32(vld1q_s32(words + v * kLanes), sums[r * Int4Place::kLine]);
  });
}

// The same of four-bit weights: the sums of a group of inputs are integers until they meet its scales.
template <int R>
__attribute__((noinline)) void tile_halves(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = Int4Place::kWords, kLine = Int4Place::kLine, kStep = 4 * Int4Place::kBytesPerInput;
  Int4Place place(job, row_block, panel);
  Prefetcher prefetcher(place.weights, R, Int4Place::kBytesPerInput, job.w->panel_bytes(), row_block);
  const PartialSums partial(job, row_block, panel);
  alignas(16) float sums[R][kPanel];  // in memory: the integers need the registers
  partial.load(0, sums[0]);
  for (int first = row_block.first; first < row_block.last; first += kInt4Group, place.next_group(R)) {
    const auto* w = reinterpret_cast<const uint8_t*>(place.weights);
    const int32_t* x = place.x;
    int32x4_t codes[R][kVectors];
    begin_with_zero_points<R>(place.groups.zero_points, x + kLine - 1, codes);
    for (int b = 0; b < Int4Place::kInputBlocks; ++b) {
      prefetcher.issue();
      for (int k = 0; k < 4; ++k, w += kStep) {
        int8x16_t inputs[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) inputs[r] = four_inputs(x + r * kLine + b * kWords + k);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors / 2; ++v) {
          const uint8x16_t halves = vld1q_u8(w + v * 16);
          const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(halves, vdupq_n_u8(15))),
                          high = vreinterpretq_s8_u8(vshrq_n_u8(halves, 4));
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            codes[r][v] = vdotq_s32(codes[r][v], low, inputs[r]);
            codes[r][v + kVectors / 2] = vdotq_s32(codes[r][v + kVectors / 2], high, inputs[r]);
          }
        }
      }
    }
    each_sum<R>([&](int r, int v) __attribute__((always_inline)) {
      const float32x4_t scale = group_scales(place.groups.scales, v);
      float* sum = sums[r] + v * kLanes;
      vst1q_f32(sum, vfmaq_f32(vld1q_f32(sum), vcvtq_f32_s32(codes[r][v]), scale));
    });
  }
  if (partial.store(0, sums[0])) return;
  for (int r = 0; r < R; ++r)
    finish_row(job, job.first_row(row_block.number) + r, panel,
               [&](int v) { return vld1q_f32(sums[r] + v * kLanes); });
}

struct Bytes {
  static constexpr int kMaxRows = kRows;
  static constexpr InputForm kForm = InputForm::signed_bytes;
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

const LinearTiles* neon_dot_tiles(WeightFormat format) {
  if (format == WeightFormat::int8_panels) return panel_tiles<Bytes>();
  if (format == WeightFormat::int4_panels) return panel_tiles<Halves>();
  return highway_tiles(format);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
