#include "kernels/linear.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "kernels/parallel.h"

#ifndef DVLM_LINEAR_ONCE
#define DVLM_LINEAR_ONCE
namespace dvlm {

// Inputs are read in blocks of 16: [groups][blocks][rows of the group][16], zero-padded.
constexpr int kBlock = 16;
constexpr int kMaxGroup = 12;  // rows that share one reading of a panel

// Everything that one call tells its threads.
struct LinearJob {
  const PackedMatrix* w;
  const float* inputs;
  float* partial;  // [panels][rows][32] sums between slices, when there are several
  Rows y;
  LinearMode mode;
  int blocks;            // of inputs, the last may be partial
  int blocks_per_slice;  // blocks that all groups of a pass work through before the next: their inputs stay
                         // in L2
  int groups;            // of rows
  int groups_per_pass;
  int first_row(int group) const { return static_cast<int>(int64_t{y.count} * group / groups); }
  int rows(int group) const { return first_row(group + 1) - first_row(group); }
  int passes() const { return (groups + groups_per_pass - 1) / groups_per_pass; }
};

// One visit of a group of rows to some panels: inputs [first, last).
struct LinearVisit {
  int group, first, last;
  int group_of_pass, groups_of_pass;
};

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

HWY_INLINE void load_weights(const float* p, Vec* w) {
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) w[v] = hn::Load(F(), p + v * kLanes);
}

// Two bf16 per word: the low halves are outputs 0..15, the high halves outputs 16..31.
HWY_INLINE void load_weights(const uint32_t* p, Vec* w) {
  const U u;
#pragma GCC unroll 32
  for (int v = 0; v < kVectors / 2; ++v) {
    const auto words = hn::Load(u, p + v * kLanes);
    w[v] = hn::BitCast(F(), hn::ShiftLeft<16>(words));
    w[kVectors / 2 + v] = hn::BitCast(F(), hn::And(words, hn::Set(u, 0xFFFF0000u)));
  }
}

template <class W>
constexpr int kWordsPerInput = sizeof(W) * kPanel / (std::is_same_v<W, float> ? 4 : 8);

// Adds bias and y, and stores the outputs that exist.
HWY_INLINE void finish(const Vec* sums, const float* bias, int outputs, LinearMode mode, float* y) {
  const F f;
  if (outputs >= kPanel) {
#pragma GCC unroll 32
    for (int v = 0; v < kVectors; ++v) {
      Vec sum = sums[v];
      if (bias) sum = hn::Add(sum, hn::LoadU(f, bias + v * kLanes));
      if (mode == LinearMode::add) sum = hn::Add(hn::LoadU(f, y + v * kLanes), sum);
      hn::StoreU(sum, f, y + v * kLanes);
    }
    return;
  }
  HWY_ALIGN float partial[kPanel];
#pragma GCC unroll 32
  for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], f, partial + v * kLanes);
  for (int n = 0; n < outputs; ++n) {
    const float sum = bias ? partial[n] + bias[n] : partial[n];
    y[n] = mode == LinearMode::add ? y[n] + sum : sum;
  }
}

// Asks for weights that will be needed soon. A lone group reads each line once, so it looks a little ahead in
// its own panel; several groups read a panel from L2 after the first, so all of them together fetch the next
// panel meanwhile.
template <class W>
struct Ahead {
  const W* next;
  int lines;  // per block of inputs

  static constexpr int kLineWords = 64 / sizeof(W);
  static constexpr int kLinesPerInput = kWordsPerInput<W> / kLineWords;
  static constexpr int kDistance = 24 * kLinesPerInput;

  Ahead(const W* w, size_t panel_words, const LinearVisit& visit) {
    const int all = (visit.last - visit.first) * kLinesPerInput, groups = visit.groups_of_pass;
    lines = (kBlock * kLinesPerInput + groups - 1) / groups;
    next = groups == 1
               ? w + kDistance * kLineWords
               : w + panel_words + static_cast<size_t>(all / groups) * visit.group_of_pass * kLineWords;
  }
  HWY_INLINE void fetch() {
    for (int i = 0; i < lines; ++i, next += kLineWords) hwy::Prefetch(next);
  }
};

// R rows times P neighbouring panels.
template <class W, int R, int P>
HWY_NOINLINE void tile(const LinearJob& job, const LinearVisit& visit, int first_panel) {
  const F f;
  constexpr int kWords = kWordsPerInput<W>;
  const int inputs = job.w->inputs(), first_row = job.first_row(visit.group);
  const size_t panel_words = static_cast<size_t>(inputs) * kWords;
  const W* w = reinterpret_cast<const W*>(job.w->data()) + first_panel * panel_words +
               static_cast<size_t>(visit.first) * kWords;
  const float* x = job.inputs + static_cast<size_t>(first_row) * job.blocks * kBlock +
                   static_cast<size_t>(visit.first) * R;
  const auto partial = [&](int p, int r) {
    return job.partial + (static_cast<size_t>(first_panel + p) * job.y.count + first_row + r) * kPanel;
  };
  Ahead<W> ahead(w, panel_words * P, visit);
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
    ahead.fetch();
    for (int k = 0; k < count; ++k, w += kWords) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) {
        Vec weights[kVectors];
        load_weights(w + p * panel_words, weights);
#pragma GCC unroll 32
        for (int r = 0; r < R; ++r) {
          const Vec value = hn::Set(f, x[r * kBlock + k]);
#pragma GCC unroll 32
          for (int v = 0; v < kVectors; ++v) sums[p][r][v] = hn::MulAdd(weights[v], value, sums[p][r][v]);
        }
      }
    }
  }
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
    const int output = (first_panel + p) * kPanel, outputs = job.w->outputs() - output;
    const float* bias = job.w->bias() ? job.w->bias() + output : nullptr;
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      if (visit.last == inputs) {
        finish(sums[p][r], bias, outputs, job.mode, job.y.row(first_row + r) + output);
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
  for (; panel + kStep <= end; panel += kStep) tile<W, R, kStep>(job, visit, panel);
  for (; panel < end; ++panel) tile<W, R, 1>(job, visit, panel);
}

template <class W>
void group_times_panels(const LinearJob& job, const LinearVisit& visit, int panel, int end) {
  using Function = void (*)(const LinearJob&, const LinearVisit&, int, int);
  static constexpr auto kByRows = []<int... R>(std::integer_sequence<int, R...>) {
    return std::array<Function, sizeof...(R)>{some_panels<W, R + 1>...};
  }
  (std::make_integer_sequence<int, kMaxRows>());
  kByRows[job.rows(visit.group) - 1](job, visit, panel, end);
}

// Items are (pass over rows, panel), pass-major.
template <class W>
void run_items(const LinearJob& job, int64_t begin, int64_t end) {
  const int panels = job.w->panels(), inputs = job.w->inputs(), slice = job.blocks_per_slice * kBlock;
  while (begin < end) {
    const int pass = static_cast<int>(begin / panels), first = static_cast<int>(begin % panels);
    const int last = static_cast<int>(HWY_MIN(int64_t{panels}, first + (end - begin)));
    const int group = pass * job.groups_per_pass, groups = HWY_MIN(job.groups_per_pass, job.groups - group);
    const int step = panels_per_tile(job.rows(group));
    for (int k = 0; k < inputs; k += slice) {
      for (int panel = first; panel < last; panel += step) {
        for (int g = 0; g < groups; ++g) {
          const LinearVisit visit{group + g, k, HWY_MIN(k + slice, inputs), g, groups};
          group_times_panels<W>(job, visit, panel, HWY_MIN(panel + step, last));
        }
      }
    }
    begin += last - first;
  }
}

void run_linear(const LinearJob& job, int64_t begin, int64_t end) {
  switch (job.w->format()) {
    case WeightFormat::f32_panels:
      return run_items<float>(job, begin, end);
    case WeightFormat::bf16_panels:
      return run_items<uint32_t>(job, begin, end);
  }
}

int max_group() {
  return kMaxRows;
}

// Rounds to the nearest bf16, ties to even. NaN stays NaN.
HWY_INLINE Vec round_to_bf16_vector(Vec x) {
  const U u;
  const auto bits = hn::BitCast(u, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7FFF))), hn::Set(u, 0xFFFF0000u));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::BitCast(F(), rounded));
}

// Copies one row into its group's blocks: block b goes to out + b * step.
void pack_inputs(const float* row, int inputs, bool round, float* out, size_t step) {
  const F f;
  const int whole = inputs / kBlock;
  for (int b = 0; b < whole; ++b) {
    for (int i = 0; i < kBlock; i += kLanes) {
      const Vec value = hn::LoadU(f, row + b * kBlock + i);
      hn::StoreU(round ? round_to_bf16_vector(value) : value, f, out + b * step + i);
    }
  }
  for (int i = whole * kBlock; i < inputs; ++i) {
    out[whole * step + i % kBlock] = round ? round_to_bf16(row[i]) : row[i];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(run_linear);
HWY_EXPORT(max_group);
HWY_EXPORT(pack_inputs);

namespace {

constexpr double kBytesPerNanosecond = 10, kFlopPerNanosecond = 60;  // rough, for one thread
constexpr int64_t kInputsInL2 = int64_t{1} << 20;                    // bytes
constexpr int kSliceBlocks = 128;  // of inputs: a slice of a panel takes 128 or 256 KiB of L2

int blocks_of(int inputs) {
  return (inputs + kBlock - 1) / kBlock;
}

void pack_rows(const LinearJob& job, Rows x, float* inputs, ThreadPool& pool) {
  const bool round = job.w->format() != WeightFormat::f32_panels;
  const int n = job.w->inputs();
  split(pool, job.groups, 0.2 * n * job.rows(0), [&](int64_t begin, int64_t end) {
    for (int g = static_cast<int>(begin); g < end; ++g) {
      const int first = job.first_row(g), rows = job.rows(g);
      float* out = inputs + static_cast<size_t>(first) * job.blocks * kBlock;
      for (int r = 0; r < rows; ++r) {
        HWY_DYNAMIC_DISPATCH(pack_inputs)
        (x.row(first + r), n, round, out + r * kBlock, static_cast<size_t>(rows) * kBlock);
      }
    }
  });
}

}  // namespace

size_t LinearScratch::floats(int rows, int inputs) {
  return static_cast<size_t>(rows) * static_cast<size_t>(blocks_of(inputs)) * kBlock;
}

void linear(const PackedMatrix& w, Rows x, Rows y, LinearMode mode, LinearScratch& scratch,
            ThreadPool& pool) {
  DVLM_ASSERT(x.count == y.count);
  if (x.count == 0) return;
  const size_t needed = LinearScratch::floats(x.count, w.inputs());
  if (scratch.inputs.size() < needed) scratch.inputs = Buffer<float>(needed);
  const int group_rows = HWY_DYNAMIC_DISPATCH(max_group)();
  LinearJob job{&w, scratch.inputs.data(), nullptr, y, mode, blocks_of(w.inputs()), 0, 0, 0};
  job.groups = (x.count + group_rows - 1) / group_rows;
  // A lone group reads every weight once: slices would only cost it their partial sums.
  job.blocks_per_slice = job.groups == 1 || job.blocks <= kSliceBlocks * 3 / 2 ? job.blocks : kSliceBlocks;
  if (job.blocks_per_slice < job.blocks) {
    const size_t sums = static_cast<size_t>(w.panels()) * static_cast<size_t>(x.count) * kPanel;
    if (scratch.partial.size() < sums) scratch.partial = Buffer<float>(sums);
    job.partial = scratch.partial.data();
  }
  const int64_t group_bytes = int64_t{4} * job.blocks_per_slice * kBlock * group_rows;
  job.groups_per_pass = static_cast<int>(std::max<int64_t>(1, kInputsInL2 / group_bytes));
  job.groups_per_pass = (job.groups + job.passes() - 1) / job.passes();  // passes of one size
  pack_rows(job, x, scratch.inputs.data(), pool);

  const double panel_flop = 2.0 * kPanel * w.inputs() * std::min(x.count, job.groups_per_pass * group_rows);
  const double panel_bytes = static_cast<double>(w.bytes()) / w.panels();
  split(pool, int64_t{job.passes()} * w.panels(),
        std::max(panel_bytes / kBytesPerNanosecond, panel_flop / kFlopPerNanosecond),
        [&](int64_t begin, int64_t end) {
          HWY_DYNAMIC_DISPATCH(run_linear)
          (job, begin, end);
        });
}

}  // namespace dvlm
#endif  // HWY_ONCE
