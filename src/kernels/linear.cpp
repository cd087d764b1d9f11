#include "kernels/linear.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"
#include "kernels/linear_job.h"
#include "kernels/parallel.h"

#ifndef DVLM_LINEAR_ONCE
#define DVLM_LINEAR_ONCE
namespace dvlm {

constexpr float kFp8Scale = 256;  // undoes what reading e4m3 as half precision does to the weights

}  // namespace dvlm
#endif

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using U = hn::RebindToUnsigned<F>;
using Vec = hn::Vec<F>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));
constexpr int kVectors = kPanel / kLanes;

// Rows and panels of one register tile: as many accumulators as the registers hold, for each number of rows.
constexpr int kMaxRows = kLanes >= 16 ? 12 : kLanes == 8 ? 3 : HWY_TARGET == HWY_NEON ? 3 : 1;
constexpr int panels_per_tile(int rows) {
  const int registers = kLanes >= 16 || HWY_TARGET == HWY_NEON ? 24 : 12;
  return std::clamp(registers / (rows * kVectors), 1, 4);
}

HWY_INLINE void load_weights(const float* p, int, Vec* w) {
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) w[v] = hn::Load(F(), p + v * kLanes);
}

// Two bf16 per word: the low halves belong to input 0 of a step, the high halves to input 1.
HWY_INLINE void load_weights(const uint32_t* p, int input, Vec* w) {
  const U u;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) {
    const auto words = hn::Load(u, p + v * kLanes);
    w[v] = hn::BitCast(F(), input == 0 ? hn::ShiftLeft<16>(words) : hn::And(words, hn::Set(u, 0xFFFF0000u)));
  }
}

// Two e4m3 per word, likewise. A byte in the upper part of a half-precision number, its exponent moved next
// to the mantissa, is the e4m3 value over kFp8Scale, exactly.
HWY_INLINE void load_weights(const uint16_t* p, int input, Vec* w) {
  const hn::Rebind<int16_t, F> s;
  const hn::Rebind<hwy::float16_t, F> half;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) {
    auto words = hn::Load(s, reinterpret_cast<const int16_t*>(p) + v * kLanes);
    if (input == 0) words = hn::ShiftLeft<8>(words);
    words = hn::And(hn::ShiftRight<1>(words), hn::Set(s, static_cast<int16_t>(0xBF80)));
    w[v] = hn::PromoteTo(F(), hn::BitCast(half, words));
  }
}

// Four signed bytes per word, one of each of four inputs.
HWY_INLINE void load_weights(const int8_t* p, int input, Vec* w) {
  const hn::RebindToSigned<F> s;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) {
    auto words = hn::Load(s, reinterpret_cast<const int32_t*>(p) + v * kLanes);
    if (input == 0) words = hn::ShiftLeft<24>(words);
    if (input == 1) words = hn::ShiftLeft<16>(words);
    if (input == 2) words = hn::ShiftLeft<8>(words);
    w[v] = hn::ConvertTo(F(), hn::ShiftRight<24>(words));
  }
}

// Halves of bytes, see WeightFormat; without their scales.
struct Halves {
  uint8_t bits;
};
HWY_INLINE void load_weights(const Halves* p, int input, Vec* w) {
  const U u;
  const hn::RebindToSigned<F> s;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) {
    const int output = v * kLanes;
    const auto words = hn::Load(u, reinterpret_cast<const uint32_t*>(p) + output % 16);
    const auto code = hn::And(hn::ShiftRightSame(words, 8 * input + (output < 16 ? 0 : 4)), hn::Set(u, 15));
    w[v] = hn::Sub(hn::ConvertTo(F(), hn::BitCast(s, code)), hn::Set(F(), 8.0f));
  }
}

// The scales of a panel's outputs for one group of inputs.
HWY_INLINE void load_scales(const bf16* scales, Vec* out) {
  const F f;
  const hn::Rebind<hwy::bfloat16_t, F> b;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v)
    out[v] = hn::PromoteTo(f, hn::Load(b, reinterpret_cast<const hwy::bfloat16_t*>(scales) + v * kLanes));
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
    std::is_same_v<W, float>                                 ? 1
    : std::is_same_v<W, int8_t> || std::is_same_v<W, Halves> ? 4
                                                             : 2;
template <class W>
constexpr int kBytesPerInput = std::is_same_v<W, float>      ? kPanel * 4
                               : std::is_same_v<W, uint32_t> ? kPanel * 2
                               : std::is_same_v<W, Halves>   ? kPanel / 2
                                                             : kPanel;

HWY_INLINE Vec round_to_bf16_vector(Vec x) {  // to nearest even; NaN stays NaN
  const U u;
  const auto bits = hn::BitCast(u, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7FFF))), hn::Set(u, 0xFFFF0000u));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::BitCast(F(), rounded));
}

// What happens to the sums of a row: for every output its scale (fp8), its bias, and y.
struct Finish {
  const float* bias;    // or null
  const float* scales;  // or null: of the outputs
  float row_scale;
  bool round;  // to bf16 (fp8)
  LinearMode mode;
};

HWY_INLINE Vec finish_vector(Vec sum, const Finish& f, int first) {
  const F d;
  if (f.scales) {
    sum = hn::Mul(hn::Mul(sum, hn::Set(d, f.row_scale)), hn::LoadU(d, f.scales + first));
    if (f.round) sum = round_to_bf16_vector(sum);
  }
  if (f.bias) {
    sum = hn::Add(sum, hn::LoadU(d, f.bias + first));
    if (f.round) sum = round_to_bf16_vector(sum);
  }
  return sum;
}

// Stores the outputs that exist. Bias and scales reach to the end of the panel.
HWY_INLINE void finish(const Vec* sums, const Finish& f, int outputs, float* y) {
  const F d;
  if (outputs >= kPanel) {
#pragma GCC unroll 32
    for (int v = 0; v < kVectors; ++v) {
      Vec sum = finish_vector(sums[v], f, v * kLanes);
      if (f.mode == LinearMode::add) sum = hn::Add(hn::LoadU(d, y + v * kLanes), sum);
      hn::StoreU(sum, d, y + v * kLanes);
    }
    return;
  }
  HWY_ALIGN float partial[kPanel];
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v)
    hn::Store(finish_vector(sums[v], f, v * kLanes), d, partial + v * kLanes);
  for (int n = 0; n < outputs; ++n) y[n] = f.mode == LinearMode::add ? y[n] + partial[n] : partial[n];
}

// R rows times P neighbouring panels in format W, which are read as S: as they are, or, one of them, widened
// to floats that begin with the visit's first input.
template <class W, class S, int R, int P>
HWY_NOINLINE void tile(const LinearJob& job, const LinearVisit& visit, int first_panel,
                       const float* widened) {
  const F f;
  constexpr int kStep = kInputsPerStep<S>;
  constexpr bool kInt4 = std::is_same_v<S, Halves>;
  constexpr size_t kWords = kBytesPerInput<S> * kStep / sizeof(S);  // per step
  const int inputs = job.w->inputs(), first_row = job.first_row(visit.group);
  const size_t panel_words = job.w->panel_bytes() / sizeof(S);
  const S* panel = widened ? reinterpret_cast<const S*>(widened)
                           : reinterpret_cast<const S*>(job.w->data()) + first_panel * panel_words;
  const S* w = panel + (widened ? 0 : static_cast<size_t>(visit.first / kStep) * kWords);
  if constexpr (kInt4) w += static_cast<size_t>(int4_groups(inputs)) * kPanel * sizeof(bf16);
  const float* x = job.inputs + static_cast<size_t>(first_row) * job.blocks * kBlock +
                   static_cast<size_t>(visit.first) * R;
  const auto partial = [&](int p, int r) {
    return job.partial + (static_cast<size_t>(first_panel + p) * job.y.count + first_row + r) * kPanel;
  };
  Ahead ahead(w, kBytesPerInput<S>, panel_words * P * sizeof(S), visit);
  Vec sums[P][R][kVectors];
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; ++v) {
        sums[p][r][v] = visit.first == 0 ? hn::Zero(f) : hn::Load(f, partial(p, r) + v * kLanes);
      }
    }
  }
  for (int first = visit.first; first < visit.last; first += kBlock, x += R * kBlock) {
    const int count = HWY_MIN(kBlock, visit.last - first);
    if (!widened) ahead.fetch();
    for (int k = 0; k < count; k += kStep, w += kWords) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) {
        Vec scales[kVectors];
        if constexpr (kInt4)
          load_scales(reinterpret_cast<const bf16*>(panel + p * panel_words) + first / kInt4Group * kPanel,
                      scales);
#pragma GCC unroll 32
        for (int s = 0; s < kStep; ++s) {
          Vec weights[kVectors];
          load_weights(w + p * panel_words, s, weights);
          if constexpr (kInt4) {
#pragma GCC unroll 32
            for (int v = 0; v < kVectors; ++v) weights[v] = hn::Mul(weights[v], scales[v]);
          }
#pragma GCC unroll 32
          for (int r = 0; r < R; ++r) {
            const Vec value = hn::Set(f, x[r * kBlock + k + s]);
#pragma GCC unroll 32
            for (int v = 0; v < kVectors; ++v) {
              sums[p][r][v] = hn::MulAdd(weights[v], value, sums[p][r][v]);
            }
          }
        }
      }
    }
  }
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
    const int output = (first_panel + p) * kPanel, outputs = job.w->outputs() - output;
    constexpr bool kFp8 = std::is_same_v<W, uint16_t>;
    constexpr bool kInt8 = std::is_same_v<W, int8_t> || std::is_same_v<W, Halves>;
    Finish end{.bias = job.w->bias() ? job.w->bias() + output : nullptr,
               .scales = kFp8 || kInt8 ? job.w->scales() + output : nullptr,
               .row_scale = 1,
               .round = kFp8,
               .mode = job.mode};
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      if (visit.last == inputs) {
        if constexpr (kFp8) order_outputs(sums[p][r]);
        if constexpr (kFp8 || kInt8) end.row_scale = job.scales[first_row + r] * (kFp8 ? kFp8Scale : 1);
        finish(sums[p][r], end, outputs, job.y.row(first_row + r) + output);
      } else {
#pragma GCC unroll 32
        for (int v = 0; v < kVectors; ++v) hn::Store(sums[p][r][v], f, partial(p, r) + v * kLanes);
      }
    }
  }
}

template <class W, int R>
void some_panels(const LinearJob& job, const LinearVisit& visit, int panel, int end) {
  constexpr int kStep = panels_per_tile(R);
  for (; panel + kStep <= end; panel += kStep) tile<W, W, R, kStep>(job, visit, panel, nullptr);
  for (; panel < end; ++panel) tile<W, W, R, 1>(job, visit, panel, nullptr);
}

// The weights of one panel for inputs [first, last) as tile() would multiply them.
template <class W>
void widen(const LinearJob& job, int panel_number, int first, int last, float* out) {
  constexpr int kStep = kInputsPerStep<W>;
  constexpr size_t kWords = kBytesPerInput<W> * kStep / sizeof(W);
  const W* panel =
      reinterpret_cast<const W*>(job.w->data()) + panel_number * (job.w->panel_bytes() / sizeof(W));
  const W* w = panel + static_cast<size_t>(first / kStep) * kWords;
  if constexpr (std::is_same_v<W, Halves>)
    w += static_cast<size_t>(int4_groups(job.w->inputs())) * kPanel * sizeof(bf16);
  for (int k = first; k < last; k += kStep, w += kWords) {
    __builtin_prefetch(reinterpret_cast<const char*>(w) + Ahead::kDistance);
    Vec scales[kVectors];
    if constexpr (std::is_same_v<W, Halves>)
      load_scales(reinterpret_cast<const bf16*>(panel) + k / kInt4Group * kPanel, scales);
#pragma GCC unroll 32
    for (int s = 0; s < kStep; ++s) {
      Vec weights[kVectors];
      load_weights(w, s, weights);
#pragma GCC unroll 32
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (std::is_same_v<W, Halves>) weights[v] = hn::Mul(weights[v], scales[v]);
        hn::Store(weights[v], F(), out + (k - first + s) * kPanel + v * kLanes);
      }
    }
  }
}

template <class W, int R>
void widened_panel(const LinearJob& job, const LinearVisit& visit, int panel, const float* weights) {
  tile<W, float, R, 1>(job, visit, panel, weights);
}

int tiles_of(int rows) {
  return panels_per_tile(rows);
}

template <class W>
const LinearTiles* tiles_for() {
  static constexpr LinearTiles kTiles = []<int... R>(std::integer_sequence<int, R...>) {
    // Groups of 12 rows make up for widening the panel again.
    if constexpr (std::is_same_v<W, float> || kMaxRows >= 12)
      return LinearTiles{{some_panels<W, R + 1>...}, tiles_of, kMaxRows, InputForm::floats};
    else
      return LinearTiles{{some_panels<W, R + 1>...}, tiles_of, kMaxRows,
                         InputForm::floats,          widen<W>, {widened_panel<W, R + 1>...}};
  }
  (std::make_integer_sequence<int, kMaxRows>());
  return &kTiles;
}

const LinearTiles* tiles(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32_panels:
      return tiles_for<float>();
    case WeightFormat::bf16_panels:
      return tiles_for<uint32_t>();
    case WeightFormat::fp8_panels:
      return tiles_for<uint16_t>();
    case WeightFormat::int8_panels:
      return tiles_for<int8_t>();
    case WeightFormat::int4_panels:
      return tiles_for<Halves>();
  }
  return nullptr;
}

// To the nearest e4m3 number, ties to even; beyond 448 to 448.
HWY_INLINE Vec round_to_e4m3_vector(Vec x) {
  const F f;
  const U u;
  const Vec magnitude = hn::Min(hn::Abs(x), hn::Set(f, 448.0f));
  const auto bits = hn::BitCast(u, magnitude);
  const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(u, 1));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7FFFF))), hn::Set(u, 0xFFF00000u));
  // Below the least normal number steps are 2^-9.
  const Vec step = hn::Set(f, 0x1.8p14f), small = hn::Sub(hn::Add(magnitude, step), step);
  const auto normal = hn::Ge(magnitude, hn::Set(f, 0x1p-6f));
  return hn::CopySign(hn::IfThenElse(normal, hn::BitCast(f, rounded), small), x);
}

// Calls use(block, its values) for the blocks of a row, zero beyond the last input.
template <class Use>
HWY_INLINE void each_block(const float* row, int inputs, const Use& use) {
  for (int b = 0; b * kBlock < inputs; ++b) {
    HWY_ALIGN float tail[kBlock] = {};
    const float* from = row + b * kBlock;
    if (inputs - b * kBlock < kBlock) {
      for (int i = 0; b * kBlock + i < inputs; ++i) tail[i] = from[i];
      from = tail;
    }
    use(b, from);
  }
}

template <class Change>
void pack_changed(const float* row, int inputs, const PackedRow& to, const Change& change) {
  const F f;
  each_block(row, inputs, [&](int b, const float* from) {
    HWY_ALIGN float values[kBlock];
    for (int i = 0; i < kBlock; i += kLanes) hn::Store(change(hn::LoadU(f, from + i)), f, values + i);
    to.store(b, values);
  });
}

// Returns the factor that the row's sums need: 1 for f32 and bf16.
float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedRow& to) {
  const F f;
  switch (format) {
    case WeightFormat::f32_panels:
      pack_changed(row, inputs, to, [](Vec x) { return x; });
      return 1;
    case WeightFormat::bf16_panels:
      pack_changed(row, inputs, to, [](Vec x) { return round_to_bf16_vector(x); });
      return 1;
    case WeightFormat::fp8_panels:
    case WeightFormat::int8_panels:
    case WeightFormat::int4_panels:
      break;
  }
  const bool fp8 = format == WeightFormat::fp8_panels;
  Vec highest = hn::Zero(f), poison = hn::Zero(f);  // poison: NaN once an input is NaN or infinite
  each_block(row, inputs, [&](int, const float* from) {
    for (int i = 0; i < kBlock; i += kLanes) {
      const Vec x = round_to_bf16_vector(hn::LoadU(f, from + i));
      highest = hn::Max(highest, hn::Abs(x));
      poison = hn::MulAdd(x, hn::Zero(f), poison);
    }
  });
  if (const float sum = hn::GetLane(hn::SumOfLanes(f, poison)); sum != 0) {
    pack_changed(row, inputs, to, [](Vec) { return hn::Zero(F()); });
    return sum;
  }
  const float scale = hn::GetLane(hn::MaxOfLanes(f, highest)) / (fp8 ? 448.0f : 127.0f);
  const Vec inverse = hn::Set(f, scale > 0 ? std::min(1 / scale, std::numeric_limits<float>::max()) : 0.0f);
  pack_changed(row, inputs, to, [&](Vec x) {
    const Vec scaled = hn::Mul(round_to_bf16_vector(x), inverse);
    if (fp8) return round_to_e4m3_vector(scaled);
    return hn::Max(hn::Min(hn::Round(scaled), hn::Set(F(), 127.0f)), hn::Set(F(), -127.0f));
  });
  return scale;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(tiles);
HWY_EXPORT(pack_inputs);

namespace {

constexpr double kBytesPerNanosecond = 10, kFlopPerNanosecond = 60;  // rough, for one thread
constexpr int64_t kInputsInL2 = int64_t{1} << 20;                    // bytes
constexpr int kSliceBlocks = 128;  // of inputs: a slice of a panel takes 64 to 256 KiB of L2

int blocks_of(int inputs) {
  return (inputs + kBlock - 1) / kBlock;
}

int whole_lines(int blocks, InputForm form) {
  const int line = blocks_per_line(form);
  return (blocks + line - 1) / line * line;
}

const LinearTiles& tiles_for(WeightFormat format) {
  const LinearTiles* special = nullptr;
  switch (dot_products()) {
    case DotProducts::none:
      break;
    case DotProducts::avx512_bf16:
      special = avx512_bf16_tiles(format);
      break;
    case DotProducts::amx:
    case DotProducts::emulated_amx:
      special = amx_tiles(format, dot_products() == DotProducts::emulated_amx);
      break;
  }
  return special ? *special : *HWY_DYNAMIC_DISPATCH(tiles)(format);
}

void pack_rows(const LinearJob& job, InputForm form, Rows x, float* inputs, float* scales, ThreadPool& pool) {
  constexpr float kZeros[kBlock] = {};
  const int n = job.w->inputs(), block = words_per_block(form), line = block * blocks_per_line(form);
  split(pool, job.groups, 0.2 * n * job.rows(0), [&](int64_t begin, int64_t end) {
    for (int g = static_cast<int>(begin); g < end; ++g) {
      const int first = job.first_row(g), rows = job.rows(g);
      float* out = inputs + static_cast<size_t>(first) * static_cast<size_t>(job.blocks * block);
      for (int r = 0; r < rows; ++r) {
        const PackedRow to{out + r * line, static_cast<size_t>(rows * line), form};
        const float scale = HWY_DYNAMIC_DISPATCH(pack_inputs)(x.row(first + r), n, job.w->format(), to);
        for (int b = blocks_of(n); b < job.blocks; ++b) to.store(b, kZeros);
        if (scales) scales[first + r] = scale;
      }
    }
  });
}

bool widens(const LinearJob& job, const LinearTiles& tiles) {
  return tiles.widen && job.groups > 1;
}

// A pass's groups over inputs [first, last) of one panel that is widened for all of them.
void run_widened(const LinearJob& job, const LinearTiles& tiles, int group, int groups, int first, int last,
                 int panel) {
  HWY_ALIGN thread_local float
      weights[(kWidened + kInt4Group) * kPanel];  // steps may reach beyond the last input
  for (int k = first; k < last; k += kWidened) {
    const int end = std::min(k + kWidened, last);
    tiles.widen(job, panel, k, end, weights);
    for (int g = 0; g < groups; ++g) {
      const LinearVisit visit{group + g, k, end, g, groups};
      tiles.widened_by_rows[static_cast<size_t>(job.rows(visit.group) - 1)](job, visit, panel, weights);
    }
  }
}

// Items are (pass over rows, panel), pass-major.
void run_items(const LinearJob& job, const LinearTiles& tiles, int64_t begin, int64_t end) {
  const int panels = job.w->panels(), inputs = job.w->inputs(), slice = job.blocks_per_slice * kBlock;
  while (begin < end) {
    const int pass = static_cast<int>(begin / panels), first = static_cast<int>(begin % panels);
    const int last = static_cast<int>(std::min(int64_t{panels}, first + (end - begin)));
    const int group = pass * job.groups_per_pass, groups = std::min(job.groups_per_pass, job.groups - group);
    const int step = tiles.panels_per_tile(job.rows(group));
    for (int k = 0; k < inputs; k += slice) {
      if (widens(job, tiles)) {
        for (int panel = first; panel < last; ++panel)
          run_widened(job, tiles, group, groups, k, std::min(k + slice, inputs), panel);
        continue;
      }
      for (int panel = first; panel < last; panel += step) {
        for (int g = 0; g < groups; ++g) {
          const LinearVisit visit{group + g, k, std::min(k + slice, inputs), g, groups};
          tiles.by_rows[static_cast<size_t>(job.rows(visit.group) - 1)](job, visit, panel,
                                                                        std::min(panel + step, last));
        }
      }
    }
    begin += last - first;
  }
}

}  // namespace

size_t LinearScratch::floats(int rows, int inputs) {
  constexpr int kLongestLine = 4 * kBlock;
  return static_cast<size_t>(rows) * static_cast<size_t>((inputs + kLongestLine - 1) / kLongestLine) *
         kLongestLine;
}

void linear(const PackedMatrix& w, Rows x, Rows y, LinearMode mode, LinearScratch& scratch,
            ThreadPool& pool) {
  DVLM_ASSERT(x.count == y.count);
  if (x.count == 0) return;
  const LinearTiles& tiles = tiles_for(w.format());
  const bool scaled = w.scales() != nullptr;
  const size_t needed = LinearScratch::floats(x.count, w.inputs()), rows = static_cast<size_t>(x.count);
  if (scratch.inputs.size() < needed) scratch.inputs = Buffer<float>(needed);
  if (scaled && scratch.scales.size() < rows) scratch.scales = Buffer<float>(rows);
  LinearJob job{.w = &w,
                .inputs = scratch.inputs.data(),
                .scales = scratch.scales.data(),
                .partial = nullptr,
                .y = y,
                .mode = mode,
                .blocks = whole_lines(blocks_of(w.inputs()), tiles.form),
                .blocks_per_slice = 0,
                .groups = (x.count + tiles.max_rows - 1) / tiles.max_rows,
                .groups_per_pass = 0};
  // A lone group reads every weight once: slices would only cost it their partial sums.
  job.blocks_per_slice = job.groups == 1 || job.blocks <= kSliceBlocks * 3 / 2 ? job.blocks : kSliceBlocks;
  if (job.blocks_per_slice < job.blocks || widens(job, tiles)) {
    const size_t sums = static_cast<size_t>(w.panels()) * rows * kPanel;
    if (scratch.partial.size() < sums) scratch.partial = Buffer<float>(sums);
    job.partial = scratch.partial.data();
  }
  const int64_t group_bytes =
      int64_t{4} * job.blocks_per_slice * words_per_block(tiles.form) * tiles.max_rows;
  job.groups_per_pass = static_cast<int>(std::max<int64_t>(1, kInputsInL2 / group_bytes));
  job.groups_per_pass = (job.groups + job.passes() - 1) / job.passes();  // passes of one size
  pack_rows(job, tiles.form, x, scratch.inputs.data(), scaled ? scratch.scales.data() : nullptr, pool);

  const double panel_flop =
      2.0 * kPanel * w.inputs() * std::min(x.count, job.groups_per_pass * tiles.max_rows);
  const double panel_bytes = static_cast<double>(w.bytes()) / w.panels();
  split(pool, int64_t{job.passes()} * w.panels(),
        std::max(panel_bytes / kBytesPerNanosecond, panel_flop / kFlopPerNanosecond),
        [&](int64_t begin, int64_t end) { run_items(job, tiles, begin, end); });
}

}  // namespace dvlm
#endif  // HWY_ONCE
