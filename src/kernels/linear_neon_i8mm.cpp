// Linear layers with NEON's products of matrices of bytes (Armv8.6: Neoverse V1 and N2, Cortex-A510 and A710,
// Apple's M2 and later): two rows by two outputs by eight inputs, twice what a dot product multiplies.
#define DVLM_NEON_FEATURES "arch=armv8.2-a+dotprod+i8mm"
#include "kernels/linear_neon.h"

#if defined(__aarch64__)
DVLM_PUSH_NEON

namespace dvlm {

namespace {

constexpr int kRows = 6;   // in pairs, whose sums of 16 outputs take 24 of the 32 registers
constexpr int kPairs = 8;  // of outputs that are summed at a time

// The sums of two rows and two outputs: | r0 n0 | r0 n1 | r1 n0 | r1 n1 |.
using Square = int32x4_t;
// [pairs of rows][pairs of outputs]
template <int R>
using Squares = Square[(R + 1) / 2][kPairs];

// Calls use(p, v) for every square, unrolled.
template <int R, class Use>
HWY_INLINE void each_square(const Use& use) {
#pragma GCC unroll 4
  for (int p = 0; p < (R + 1) / 2; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < kPairs; ++v) use(p, v);
  }
}

// The second row of pair p; the first once more when R is odd.
template <int R>
constexpr int second(int p) {
  return std::min(2 * p + 1, R - 1);
}

// Eight inputs of each pair of rows, whose words stand `line` apart.
template <int R>
HWY_INLINE void load_inputs(const int32_t* x, int line, int8x16_t (&inputs)[(R + 1) / 2]) {
#pragma GCC unroll 4
  for (int p = 0; p < (R + 1) / 2; ++p)
    inputs[p] = vcombine_s8(vld1_s8(reinterpret_cast<const int8_t*>(x + 2 * p * line)),
                            vld1_s8(reinterpret_cast<const int8_t*>(x + second<R>(p) * line)));
}

// Adds the products of four outputs, whose words of the first and the next four inputs are given.
template <int R>
HWY_INLINE void add_products(const int8x16_t (&inputs)[(R + 1) / 2], int8x16_t first, int8x16_t next, int at,
                             Squares<R>& sums) {
  const int32x4_t a = vreinterpretq_s32_s8(first), b = vreinterpretq_s32_s8(next);
  const int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32(a, b)), high = vreinterpretq_s8_s32(vzip2q_s32(a, b));
#pragma GCC unroll 4
  for (int p = 0; p < (R + 1) / 2; ++p) {
    sums[p][at] = vmmlaq_s32(sums[p][at], inputs[p], low);
    sums[p][at + 1] = vmmlaq_s32(sums[p][at + 1], inputs[p], high);
  }
}

// Brings squares to rows of sums, [R][32], of which the first stands for output `output`; and back.
template <int R>
HWY_INLINE void store(const Squares<R>& squares, int output, int32_t* sums) {
  each_square<R>([&](int p, int v) __attribute__((always_inline)) {
    vst1_s32(sums + second<R>(p) * kPanel + output + 2 * v, vget_high_s32(squares[p][v]));
    vst1_s32(sums + 2 * p * kPanel + output + 2 * v, vget_low_s32(squares[p][v]));
  });
}
template <int R>
HWY_INLINE void load(const int32_t* sums, int output, Squares<R>& squares) {
  each_square<R>([&](int p, int v) __attribute__((always_inline)) {
    squares[p][v] = vcombine_s32(vld1_s32(sums + 2 * p * kPanel + output + 2 * v),
                                 vld1_s32(sums + second<R>(p) * kPanel + output + 2 * v));
  });
}

// R rows times a panel of eight-bit weights, 16 outputs at a time.
template <int R>
__attribute__((noinline)) void tile_bytes(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = input_block_words(InputForm::signed_bytes), kStep = 4 * kPanel;
  const int first_row = job.first_row(row_block.number);
  const auto* weights = reinterpret_cast<const int8_t*>(job.w->data()) +
                        static_cast<size_t>(panel) * job.w->panel_bytes() +
                        static_cast<size_t>(row_block.first) * kPanel;
  const auto* inputs = reinterpret_cast<const int32_t*>(job.inputs) +
                       (static_cast<size_t>(first_row) * static_cast<size_t>(job.input_blocks) +
                        static_cast<size_t>(row_block.first / kInputBlock) * R) *
                           kWords;
  const PartialSums partial(job, row_block, panel);
  Prefetcher prefetcher(weights, R, kPanel, job.w->panel_bytes(), row_block);
  alignas(16) int32_t sums[R][kPanel] = {};
  if (row_block.first != 0) std::memcpy(sums, partial.of(0), sizeof sums);
  for (int output = 0; output < kPanel; output += 2 * kPairs) {
    const int8_t* w = weights + 4 * output;
    const int32_t* x = inputs;
    Squares<R> squares;
    load<R>(sums[0], output, squares);
    for (int first = row_block.first; first < row_block.last; first += kInputBlock, x += R * kWords) {
      const int steps = (std::min(kInputBlock, row_block.last - first) + 3) / 4;
      if (output == 0) prefetcher.issue();
      for (int k = 0; k < steps; k += 2, w += 2 * kStep) {
        int8x16_t rows[(R + 1) / 2];
        load_inputs<R>(x + k, kWords, rows);
#pragma GCC unroll 4
        for (int v = 0; v < kPairs / 2; ++v) {
          // A panel may end with one step.
          const int8x16_t next = k + 1 < steps ? vld1q_s8(w + kStep + v * 16) : vdupq_n_s8(0);
          add_products<R>(rows, vld1q_s8(w + v * 16), next, 2 * v, squares);
        }
      }
    }
    store<R>(squares, output, sums[0]);
  }
  if (row_block.last < job.w->inputs()) {
    std::memcpy(partial.of(0), sums, sizeof sums);
    return;
  }
  for (int r = 0; r < R; ++r)
    finish_row(job, first_row + r, panel,
               [&](int v) { return vcvtq_f32_s32(vld1q_s32(sums[r] + v * kLanes)); });
}

// The first output of square v of four-bit weights: 8 of the first 16 outputs, then 8 of the last.
constexpr int place_of(int v) {
  return v < kPairs / 2 ? 2 * v : 16 + 2 * v - kPairs;
}

// What the zero points of outputs take from the products: minus the sums of inputs, a line apart.
template <int R>
HWY_INLINE void begin_with_zero_points(const int32_t* zero_points, const int32_t* sums, int output,
                                       Squares<R>& codes) {
  each_square<R>([&](int p, int v) __attribute__((always_inline)) {
    const int32x2_t z = vld1_s32(zero_points + output + place_of(v));
    codes[p][v] = vcombine_s32(vmul_n_s32(z, sums[2 * p * Int4Place::kLine]),
                               vmul_n_s32(z, sums[second<R>(p) * Int4Place::kLine]));
  });
}

// The same of four-bit weights, 8 of the first and 8 of the last 16 outputs at a time: the sums of a group of
// inputs are integers until they meet its scales.
template <int R>
__attribute__((noinline)) void tile_halves(const LinearJob& job, const RowBlock& row_block, int panel) {
  constexpr int kWords = Int4Place::kWords, kLine = Int4Place::kLine, kStep = 4 * Int4Place::kBytesPerInput;
  Int4Place place(job, row_block, panel);
  Prefetcher prefetcher(place.weights, R, Int4Place::kBytesPerInput, job.w->panel_bytes(), row_block);
  const PartialSums partial(job, row_block, panel);
  alignas(16) float sums[R][kPanel];
  partial.load(0, sums[0]);
  for (int first = row_block.first; first < row_block.last; first += kInt4Group, place.next_group(R)) {
    alignas(16) int32_t zero_points[kPanel], integers[R][kPanel];
    spread_zero_points(place.groups.zero_points, zero_points);
    for (int output = 0; output < 16; output += kPairs) {
      const auto* w = reinterpret_cast<const uint8_t*>(place.weights) + 4 * output;
      Squares<R> codes;
      begin_with_zero_points<R>(zero_points, place.x + kLine - 1, output, codes);
      for (int b = 0; b < Int4Place::kInputBlocks; ++b) {
        if (output == 0) prefetcher.issue();
        for (int k = 0; k < 4; k += 2, w += 2 * kStep) {
          int8x16_t rows[(R + 1) / 2];
          load_inputs<R>(place.x + b * kWords + k, kLine, rows);
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) {
            const uint8x16_t now = vld1q_u8(w + v * 16), next = vld1q_u8(w + kStep + v * 16);
            const uint8x16_t low = vdupq_n_u8(15);
            add_products<R>(rows, vreinterpretq_s8_u8(vandq_u8(now, low)),
                            vreinterpretq_s8_u8(vandq_u8(next, low)), 2 * v, codes);
            add_products<R>(rows, vreinterpretq_s8_u8(vshrq_n_u8(now, 4)),
                            vreinterpretq_s8_u8(vshrq_n_u8(next, 4)), kPairs / 2 + 2 * v, codes);
          }
        }
      }
      each_square<R>([&](int p, int v) __attribute__((always_inline)) {
        const int at = output + place_of(v);
        vst1_s32(integers[second<R>(p)] + at, vget_high_s32(codes[p][v]));
        vst1_s32(integers[2 * p] + at, vget_low_s32(codes[p][v]));
      });
    }
    for (int v = 0; v < kVectors; ++v) {
      const float32x4_t scale = group_scales(place.groups.scales, v);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        float* sum = sums[r] + v * kLanes;
        vst1q_f32(sum, vfmaq_f32(vld1q_f32(sum), vcvtq_f32_s32(vld1q_s32(integers[r] + v * kLanes)), scale));
      }
    }
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

// A lone row would leave half of each square unused: dot products take it.
template <class Tile>
const LinearTiles* with_lone_rows(WeightFormat format) {
  static const LinearTiles kTiles = [format] {
    LinearTiles tiles = *panel_tiles<Tile>();
    tiles.by_rows[0] = neon_dot_tiles(format)->by_rows[0];
    return tiles;
  }();
  return &kTiles;
}

}  // namespace

const LinearTiles* neon_i8mm_tiles(WeightFormat format) {
  if (format == WeightFormat::int8_panels) return with_lone_rows<Bytes>(format);
  if (format == WeightFormat::int4_panels) return with_lone_rows<Halves>(format);
  return highway_tiles(format);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
