// Tiles of linear() with weights of eight and four bits for Highway's sets. Sums are integers, exact in any
// order, so that a row's bits are those of linear_avx512_vnni.cpp and linear_amx.cpp.
#include "kernels/linear_tiles.h"
#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear_integers.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/linear_finish.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

using I = hn::RebindToSigned<F>;
using Integers = hn::Vec<I>;

// The codes of one output for four inputs stand in a word. x86 multiplies them as pairs of 16 bits: the first
// with the third, the second with the fourth.
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
constexpr InputForm kForm = InputForm::shorts;
using S = hn::Repartition<int16_t, I>;
struct Quad {
  hn::Vec<S> even, odd;
};
HWY_INLINE Quad split(Integers words) {
  const auto shorts = hn::BitCast(S(), words);
  return {hn::ShiftRight<8>(hn::ShiftLeft<8>(shorts)), hn::ShiftRight<8>(shorts)};
}
HWY_INLINE Integers add_products(Integers sum, const Quad& w, const float* x) {
  const I i;
  Integers none = hn::Zero(i);  // on other sets half of the sums
  const auto broadcast = [&](const float* word) HWY_ATTR __attribute__((always_inline)) {
    return hn::BitCast(S(), hn::Set(F(), *word));
  };
  sum = hn::ReorderWidenMulAccumulate(i, w.even, broadcast(x), sum, none);
  return hn::ReorderWidenMulAccumulate(i, w.odd, broadcast(x + 1), sum, none);
}
#else
constexpr InputForm kForm = InputForm::floats;
struct Quad {
  Integers codes[4];
};
HWY_INLINE Quad split(Integers words) {
  return {{hn::ShiftRight<24>(hn::ShiftLeft<24>(words)), hn::ShiftRight<24>(hn::ShiftLeft<16>(words)),
           hn::ShiftRight<24>(hn::ShiftLeft<8>(words)), hn::ShiftRight<24>(words)}};
}
HWY_INLINE Integers add_products(Integers sum, const Quad& w, const float* x) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k)
    sum = hn::Add(sum, hn::Mul(w.codes[k], hn::Set(I(), static_cast<int32_t>(x[k]))));
  return sum;
}
#endif

constexpr int kLine = input_block_words(kForm), kQuads = kInputBlock / 4, kQuadWords = kLine / kQuads;

// How the words of vector v stand in a step of four inputs.
struct Bytes {
  static constexpr int kBytesPerInput = kPanel;
  HWY_INLINE Integers words(const std::byte* step, int v) const {
    return hn::Load(I(), reinterpret_cast<const int32_t*>(step) + v * kLanes);
  }
};
struct Halves {
  static constexpr int kBytesPerInput = kPanel / 2;
  const int32_t* zero_points;  // [32] of the group, each in four bytes
  HWY_INLINE Integers words(const std::byte* step, int v) const {
    const I i;
    const int output = v * kLanes;
    const auto both = hn::Load(i, reinterpret_cast<const int32_t*>(step) + output % 16);
    const auto codes = hn::And(hn::ShiftRightSame(both, output < 16 ? 0 : 4), hn::Set(i, 0x0F0F0F0F));
    // Takes a zero point from each byte: no byte borrows from its neighbour when its top bit is set.
    const auto top = hn::Set(i, static_cast<int32_t>(0x80808080));
    return hn::Xor(hn::Sub(hn::Or(codes, top), hn::Load(i, zero_points + output)), top);
  }
};

// Calls use(p, r, v) for every vector of sums of P panels and R rows, unrolled.
template <int P, int R, class Use>
HWY_INLINE void each_sum(const Use& use) {
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; ++v) use(p, r, v);
    }
  }
}

// The products of `inputs` inputs, from `w` and `x` on, are added to the sums of R rows and P panels, whose
// words `codes` reads. Both move behind them.
template <class Codes, int R, int P>
HWY_INLINE void add_inputs(const Codes (&codes)[P], int inputs, size_t panel_bytes, Prefetcher& prefetcher,
                           const std::byte*& w, const float*& x, Integers (&sums)[P][R][kVectors]) {
  for (int first = 0; first < inputs; first += kInputBlock, x += R * kLine) {
    const int quads = (HWY_MIN(kInputBlock, inputs - first) + 3) / 4;
    prefetcher.issue();
    for (int k = 0; k < quads; ++k, w += 4 * Codes::kBytesPerInput) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
        for (int v = 0; v < kVectors; ++v) {
          const Quad quad = split(codes[p].words(w + p * panel_bytes, v));
#pragma GCC unroll 32
          for (int r = 0; r < R; ++r)
            sums[p][r][v] = add_products(sums[p][r][v], quad, x + r * kLine + k * kQuadWords);
        }
      }
    }
  }
}

// Not inlined: a tile would hold this once for each of its rows and panels.
HWY_NOINLINE void finish_row(const LinearJob& job, Vec* sums, int row, int panel) {
  const int output = panel * kPanel;
  const Finish end{.bias = job.w->bias() ? job.w->bias() + output : nullptr,
                   .scales = job.w->scales() + output,
                   .row_scale = job.scales[row],
                   .round = false,
                   .mode = job.mode};
  finish(sums, end, job.w->outputs() - output, job.y.row(row) + output);
}

// The place where a row block meets a panel.
struct Place {
  const std::byte* weights;
  const float* x;
  template <class Codes>
  static Place of(const LinearJob& job, const RowBlock& row_block, int panel, size_t scale_bytes) {
    const auto row = static_cast<size_t>(job.first_row(row_block.number)),
               rows = static_cast<size_t>(job.rows(row_block.number)),
               first = static_cast<size_t>(row_block.first);
    return {job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes() + scale_bytes +
                first * Codes::kBytesPerInput,
            job.inputs + row * static_cast<size_t>(job.input_blocks * kLine) +
                first / kInputBlock * rows * kLine};
  }
};

// R rows times P neighbouring panels of eight-bit weights.
template <int R, int P>
HWY_NOINLINE void tile_bytes(const LinearJob& job, const RowBlock& row_block, int first_panel) {
  const size_t panel_bytes = job.w->panel_bytes();
  auto [w, x] = Place::of<Bytes>(job, row_block, first_panel, 0);
  const PartialSums partial(job, row_block, first_panel);
  Prefetcher prefetcher(w, R, Bytes::kBytesPerInput, panel_bytes * P, row_block);
  Integers sums[P][R][kVectors];
  each_sum<P, R>([&](int p, int r, int v) HWY_ATTR __attribute__((always_inline)) {
    sums[p][r][v] = row_block.first == 0
                        ? hn::Zero(I())
                        : hn::BitCast(I(), hn::Load(F(), partial.of(p) + r * kPanel + v * kLanes));
  });
  constexpr Bytes kCodes[P] = {};
  add_inputs(kCodes, row_block.last - row_block.first, panel_bytes, prefetcher, w, x, sums);
  if (row_block.last < job.w->inputs()) {
    each_sum<P, R>([&](int p, int r, int v) HWY_ATTR {
      hn::Store(hn::BitCast(F(), sums[p][r][v]), F(), partial.of(p) + r * kPanel + v * kLanes);
    });
    return;
  }
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      Vec row[kVectors];
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; ++v) row[v] = hn::ConvertTo(F(), sums[p][r][v]);
      finish_row(job, row, job.first_row(row_block.number) + r, first_panel + p);
    }
  }
}

// a * b + c, rounded once on every set: those without the instruction would round the product, too, and large
// integers times a scale are not exact.
HWY_INLINE Vec fused(Vec a, Vec b, Vec c) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
  HWY_ALIGN float x[kLanes], y[kLanes], z[kLanes];
  hn::Store(a, F(), x), hn::Store(b, F(), y), hn::Store(c, F(), z);
  for (int i = 0; i < kLanes; ++i) x[i] = std::fma(x[i], y[i], z[i]);
  return hn::Load(F(), x);
#else
  return hn::MulAdd(a, b, c);
#endif
}

// sums += the integers of R rows and a group of inputs times its scales.
template <int R>
HWY_INLINE void add_scaled(const Integers (&integers)[R][kVectors], const std::byte* scales,
                           float (&sums)[R][kPanel]) {
  const F f;
  const hn::Rebind<hwy::float16_t, F> h;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) {
    const Vec scale =
        hn::PromoteTo(f, hn::Load(h, reinterpret_cast<const hwy::float16_t*>(scales) + v * kLanes));
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      float* sum = sums[r] + v * kLanes;
      hn::Store(fused(hn::ConvertTo(f, integers[r][v]), scale, hn::Load(f, sum)), f, sum);
    }
  }
}

// The zero points of a group, [32], each in four bytes.
HWY_INLINE void spread_zero_points(const std::byte* from, int32_t* to) {
  for (int n = 0; n < kPanel / 2; ++n) {
    const auto both = std::to_integer<int32_t>(from[n]);
    to[n] = (both & 15) * 0x01010101, to[n + 16] = (both >> 4) * 0x01010101;
  }
}

// The same of four-bit weights: the sums of a group of inputs are integers until they meet its scales.
template <int R, int P>
HWY_NOINLINE void tile_halves(const LinearJob& job, const RowBlock& row_block, int first_panel) {
  const size_t panel_bytes = job.w->panel_bytes();
  auto [w, x] = Place::of<Halves>(job, row_block, first_panel, int4_head_bytes(job.w->inputs()));
  Int4Groups groups(job.w->data() + static_cast<size_t>(first_panel) * panel_bytes, job.w->inputs(),
                    row_block.first);
  const PartialSums partial(job, row_block, first_panel);
  Prefetcher prefetcher(w, R, Halves::kBytesPerInput, panel_bytes * P, row_block);
  HWY_ALIGN float sums[P][R][kPanel];  // in memory: the integers need the registers
  for (int p = 0; p < P; ++p) partial.load(p, sums[p][0]);
  HWY_ALIGN int32_t zero_points[P][kPanel];
  for (int first = row_block.first; first < row_block.last; first += kInt4Group, groups.next()) {
    Halves codes[P];
    for (size_t p = 0; p < P; ++p) {
      spread_zero_points(groups.zero_points + p * panel_bytes, zero_points[p]);
      codes[p].zero_points = zero_points[p];
    }
    Integers integers[P][R][kVectors];
    each_sum<P, R>([&](int p, int r, int v) HWY_ATTR
                   __attribute__((always_inline)) { integers[p][r][v] = hn::Zero(I()); });
    add_inputs(codes, HWY_MIN(kInt4Group, row_block.last - first), panel_bytes, prefetcher, w, x, integers);
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p)
      add_scaled<R>(integers[p], groups.scales + static_cast<size_t>(p) * panel_bytes, sums[p]);
  }
  for (int p = 0; p < P; ++p) {
    if (partial.store(p, sums[p][0])) continue;
    for (int r = 0; r < R; ++r) {
      Vec row[kVectors];
      for (int v = 0; v < kVectors; ++v) row[v] = hn::Load(F(), sums[p][r] + v * kLanes);
      finish_row(job, row, job.first_row(row_block.number) + r, first_panel + p);
    }
  }
}

template <class Codes, int R, int P>
void tile(const LinearJob& job, const RowBlock& row_block, int panel) {
  if constexpr (std::is_same_v<Codes, Bytes>)
    tile_bytes<R, P>(job, row_block, panel);
  else
    tile_halves<R, P>(job, row_block, panel);
}

template <class Codes, int R>
void some_panels(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  constexpr int kStep = panels_per_tile(R);
  for (; panel + kStep <= end; panel += kStep) tile<Codes, R, kStep>(job, row_block, panel);
  for (; panel < end; ++panel) tile<Codes, R, 1>(job, row_block, panel);
}

template <class Codes>
const LinearTiles* tiles_for() {
  static constexpr LinearTiles kTiles = []<int... R>(std::integer_sequence<int, R...>) {
    return LinearTiles{{some_panels<Codes, R + 1>...}, panels_per_tile, kMaxRows, kForm};
  }
  (std::make_integer_sequence<int, kMaxRows>());
  return &kTiles;
}

const LinearTiles* integer_tiles_here(WeightFormat format) {
  if (format == WeightFormat::int8_panels) return tiles_for<Bytes>();
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return avx2_int4_tiles();
#else
  return tiles_for<Halves>();
#endif
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(integer_tiles_here);

const LinearTiles* integer_tiles(WeightFormat format) {
  return HWY_DYNAMIC_DISPATCH(integer_tiles_here)(format);
}

}  // namespace dvlm
#endif  // HWY_ONCE
