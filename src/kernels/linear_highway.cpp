// Tiles of linear() with f32 multiply-adds for weights of 32, 16 and eight (e4m3) bits, compiled once per
// instruction set.
#include "kernels/linear_tiles.h"
#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear_highway.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <utility>

#include "kernels/linear_finish.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

constexpr float kFp8Scale = 256;  // undoes what reading e4m3 as half precision does to the weights

// The weights of one of a step's inputs for the outputs of `Count` vectors, beginning with vector `From`.
template <int From, int Count>
HWY_INLINE void load_weights(const float* p, int, Vec* w) {
#pragma GCC unroll 32
  for (int v = 0; v < Count; ++v) w[v] = hn::Load(F(), p + (From + v) * kLanes);
}

// Two bf16 per word: the low halves belong to input 0 of a step, the high halves to input 1.
template <int From, int Count>
HWY_INLINE void load_weights(const uint32_t* p, int input, Vec* w) {
  const U u;
#pragma GCC unroll 32
  for (int v = 0; v < Count; ++v) {
    const auto words = hn::Load(u, p + (From + v) * kLanes);
    w[v] = hn::BitCast(F(), input == 0 ? hn::ShiftLeft<16>(words) : hn::And(words, hn::Set(u, 0xFFFF0000u)));
  }
}

// Half-precision numbers in 16-bit words as floats: one vector of them or two.
template <class D>
HWY_INLINE void promote(D, hn::Vec<D> words, Vec* w) {
  const hn::Rebind<hwy::float16_t, F> half;
  if constexpr (hn::MaxLanes(D()) == kLanes) w[0] = hn::PromoteTo(F(), hn::BitCast(half, words));
#if HWY_TARGET != HWY_SCALAR
  if constexpr (hn::MaxLanes(D()) == 2 * kLanes) {
    const hn::Half<D> h;
    w[0] = hn::PromoteTo(F(), hn::BitCast(half, hn::LowerHalf(h, words)));
    w[1] = hn::PromoteTo(F(), hn::BitCast(half, hn::UpperHalf(h, words)));
  }
#endif
}

// Two e4m3 per word, likewise. A byte in the upper part of a half-precision number, its exponent moved next
// to the mantissa, is the e4m3 value over kFp8Scale, exactly.
template <int From, int Count>
HWY_INLINE void load_weights(const uint16_t* p, int input, Vec* w) {
  const hn::CappedTag<int16_t, 16> s;  // AVX-512 would pay for halving longer ones
  constexpr int kWords = static_cast<int>(hn::MaxLanes(s));
#pragma GCC unroll 32
  for (int at = 0; at < Count * kLanes; at += kWords) {
    auto words = hn::Load(s, reinterpret_cast<const int16_t*>(p) + From * kLanes + at);
    if (input == 0) words = hn::ShiftLeft<8>(words);
    words = hn::And(hn::ShiftRight<1>(words), hn::Set(s, static_cast<int16_t>(0xBF80)));
    promote(s, words, w + at / kLanes);
  }
}

// Brings the sums of an fp8 panel from the order of its places into that of its outputs.
HWY_INLINE void order_outputs(Vec* sums) {
  HWY_ALIGN float places[kPanel], outputs[kPanel];
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], F(), places + v * kLanes);
  for (int i = 0; i < kPanel; ++i) outputs[fp8_output(i)] = places[i];
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) sums[v] = hn::Load(F(), outputs + v * kLanes);
}

template <class W>
constexpr int kInputsPerStep =  // that load_weights reads
    std::is_same_v<W, float> ? 1 : 2;
template <class W>
constexpr int kBytesPerInput = kPanel* static_cast<int>(sizeof(W)) / kInputsPerStep<W>;

// Keeps the compiler from loading a vector anew for each multiply-add that uses it.
HWY_INLINE void stay_in_register([[maybe_unused]] Vec& v) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128  // whose vectors are arrays
  asm("" : "+v"(v.raw));
#endif
}

// The weights of a panel from input `first` on.
template <class W>
const W* weights_from(const LinearJob& job, int panel, int first) {
  return reinterpret_cast<const W*>(job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes() +
                                    static_cast<size_t>(first) * kBytesPerInput<W>);
}

// The sums of a row and a panel become y. Not inlined: a tile would hold this once for each of its rows and
// panels.
template <class W>
HWY_NOINLINE void finish_row(const LinearJob& job, Vec* sums, int row, int panel) {
  constexpr bool kFp8 = std::is_same_v<W, uint16_t>;
  const int output = panel * kPanel;
  if constexpr (kFp8) order_outputs(sums);
  const Finish end{.bias = job.w->bias() ? job.w->bias() + output : nullptr,
                   .scales = kFp8 ? job.w->scales() + output : nullptr,
                   .row_scale = kFp8 ? job.scales[row] * kFp8Scale : 1,
                   .round = kFp8,
                   .mode = job.mode};
  finish(sums, end, job.w->outputs() - output, job.y.row(row) + output);
}

// Calls use(p, r, v) for every vector of sums of P panels and R rows, unrolled.
template <int P, int R, int Count, class Use>
HWY_INLINE void each_sum(const Use& use) {
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 32
      for (int v = 0; v < Count; ++v) use(p, r, v);
    }
  }
}

// R rows times P neighbouring panels in format W, which are read as S: as they are, or, one of them, as
// `dequantized` floats that begin with the row block's first input. Or a part of a panel, `Count` vectors of
// its outputs beginning with vector `From`, which is kept as floats, and whose sums are stored as partial
// ones even when they are complete.
template <class W, class S, int R, int P, int From = 0, int Count = kVectors>
// NOLINTNEXTLINE(readability-function-size): sums that stay in registers leave no function to call
HWY_NOINLINE void tile(const LinearJob& job, const RowBlock& row_block, int first_panel,
                       const DequantizedPanel* dequantized) {
  constexpr bool kKeep = Count < kVectors;
  static_assert(!kKeep || (P == 1 && std::is_same_v<W, S>));
  constexpr int kStep = kInputsPerStep<S>;
  constexpr size_t kWords = kBytesPerInput<S> * kStep / sizeof(S);  // per step
  const int first_row = job.first_row(row_block.number);
  const size_t panel_bytes = job.w->panel_bytes(), panel_words = panel_bytes / sizeof(S);
  const W* source = weights_from<W>(job, first_panel, row_block.first);
  const S* w;
  if constexpr (std::is_same_v<W, S>)
    w = source;
  else
    w = dequantized->weights;
  [[maybe_unused]] float* kept = kKeep ? dequantized->weights + From * kLanes : nullptr;
  const float* x = job.inputs + static_cast<size_t>(first_row) * job.input_blocks * kInputBlock +
                   static_cast<size_t>(row_block.first) * R;
  const PartialSums partial(job, row_block, first_panel);
  const auto sum_at = [&](int p, int r, int v) {
    if (!dequantized) return partial.of(p) + r * kPanel + (From + v) * kLanes;
    const int first_of_mc = job.first_row(row_block.number - row_block.number_in_mc);
    return dequantized->sums + (first_row - first_of_mc + r) * kPanel + (From + v) * kLanes;
  };
  // A row block that multiplies floats asks for the weights that become floats next.
  Prefetcher prefetcher(source, R, kBytesPerInput<W>,
                        dequantized ? size_t{kDequantized} * kBytesPerInput<W> : panel_bytes * P, row_block);
  Vec sums[P][R][Count];
  each_sum<P, R, Count>([&](int p, int r, int v) HWY_ATTR __attribute__((always_inline)) {
    sums[p][r][v] = row_block.first == 0 ? hn::Zero(F()) : hn::Load(F(), sum_at(p, r, v));
  });
  for (int first = row_block.first; first < row_block.last; first += kInputBlock, x += R * kInputBlock) {
    const int count = HWY_MIN(kInputBlock, row_block.last - first);
    if (From == 0) prefetcher.issue();
    for (int k = 0; k < count; k += kStep, w += kWords) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
        for (int s = 0; s < kStep; ++s) {
          Vec weights[Count];
          load_weights<From, Count>(w + p * panel_words, s, weights);
          if constexpr (P * R * Count + Count < 16) {
#pragma GCC unroll 32
            for (int v = 0; v < Count; ++v) stay_in_register(weights[v]);
          }
          if constexpr (kKeep) {
#pragma GCC unroll 32
            for (int v = 0; v < Count; ++v) hn::Store(weights[v], F(), kept + v * kLanes);
            kept += kPanel;
          }
          each_sum<1, R, Count>([&](int, int r, int v) HWY_ATTR __attribute__((always_inline)) {
            sums[p][r][v] = hn::MulAdd(weights[v], hn::Set(F(), x[r * kInputBlock + k + s]), sums[p][r][v]);
          });
        }
      }
    }
  }
  if (row_block.last == job.w->inputs() && !kKeep) {
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        Vec row[Count];  // a copy: the tile's own sums stay in registers
#pragma GCC unroll 32
        for (int v = 0; v < Count; ++v) row[v] = sums[p][r][v];
        finish_row<W>(job, row, first_row + r, first_panel + p);
      }
  } else {
    each_sum<P, R, Count>([&](int p, int r, int v)
                              HWY_ATTR { hn::Store(sums[p][r][v], F(), sum_at(p, r, v)); });
  }
}

template <class W, int R>
void some_panels(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  constexpr int kStep = panels_per_tile(R);
  for (; panel + kStep <= end; panel += kStep) tile<W, W, R, kStep>(job, row_block, panel, nullptr);
  for (; panel < end; ++panel) tile<W, W, R, 1>(job, row_block, panel, nullptr);
}

template <class W, int R>
void dequantized_panel(const LinearJob& job, const RowBlock& row_block, int panel,
                       const DequantizedPanel& dequantized) {
  if (row_block.number_in_mc > 0) return tile<W, float, R, 1>(job, row_block, panel, &dequantized);
  // Two parts of a panel have few enough sums to leave registers to the dequantizing.
  constexpr int kPart = kVectors / 2;
  tile<W, W, R, 1, 0, kPart>(job, row_block, panel, &dequantized);
  tile<W, W, R, 1, kPart, kPart>(job, row_block, panel, &dequantized);
  if (row_block.last < job.w->inputs()) return;
  for (int r = 0; r < R; ++r) {
    Vec sums[kVectors];
#pragma GCC unroll 32
    for (int v = 0; v < kVectors; ++v) sums[v] = hn::Load(F(), dequantized.sums + r * kPanel + v * kLanes);
    finish_row<W>(job, sums, job.first_row(row_block.number) + r, panel);
  }
}

template <class W>
const LinearTiles* tiles_for() {
  static constexpr LinearTiles kTiles = []<int... R>(std::integer_sequence<int, R...>) {
    // Row blocks of 12 make up for dequantizing the panel again.
    if constexpr (std::is_same_v<W, float> || kMaxRows >= 12)
      return LinearTiles{{some_panels<W, R + 1>...}, panels_per_tile, kMaxRows, InputForm::floats};
    else
      return LinearTiles{{some_panels<W, R + 1>...},
                         panels_per_tile,
                         kMaxRows,
                         InputForm::floats,
                         {dequantized_panel<W, R + 1>...}};
  }
  (std::make_integer_sequence<int, kMaxRows>());
  return &kTiles;
}

const LinearTiles* tiles(WeightFormat format) {
  static constexpr const LinearTiles* (*kTiles[])() = {tiles_for<float>, tiles_for<uint32_t>,
                                                       tiles_for<uint16_t>};
  return kTiles[static_cast<size_t>(format)]();
}

double multiply(int64_t rounds) {
  constexpr int kSums = 12;  // more than multiply-adds are under way at once, fewer than there are registers
  Vec sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(F(), static_cast<float>(i));  // or they would be one
  const Vec a = hn::Set(F(), 1.0f), b = hn::Set(F(), 1e-9f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (Vec& sum : sums) sum = hn::MulAdd(a, b, sum);
  }
  Vec total = sums[0];
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) total = hn::Add(total, sums[i]);
  asm volatile("" : : "m"(total));
  return 2.0 * kSums * kLanes * static_cast<double>(rounds);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(tiles);
HWY_EXPORT(multiply);

const LinearTiles* highway_tiles(WeightFormat format) {
  if (format == WeightFormat::int8_panels || format == WeightFormat::int4_panels)
    return integer_tiles(format);
  return HWY_DYNAMIC_DISPATCH(tiles)(format);
}

double highway_multiply(int64_t rounds) {
  return HWY_DYNAMIC_DISPATCH(multiply)(rounds);
}

}  // namespace dvlm
#endif  // HWY_ONCE
