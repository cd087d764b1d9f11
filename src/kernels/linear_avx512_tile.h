// The tile of AVX-512's dot products, of bf16 pairs and of bytes. Not for other rooms.
#pragma once
#include <utility>

#include "kernels/linear_avx512.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX512
namespace dvlm {
namespace {

// A tile has `registers` vectors of sums, each 16 outputs of a row, which stay in registers. At most four
// panels stand side by side: with one row that makes 8 chains of sums, and four streams from memory.
constexpr int panels_per_tile(int registers, int rows) {
  return std::clamp(registers / (rows * kVectors), 1, 4);
}

// Calls use(p, r, v) for every vector of sums of P panels and R rows, unrolled.
template <int P, int R, class Use>
HWY_INLINE void each_sum(const Use& use) {
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) use(p, r, v);
    }
  }
}

// Sums take 24 of the 32 registers, up to 12 rows of a panel; fp8's tables (4) and sign, the words in use (2)
// and a scratch register take the rest. More sums would spill, fewer read each panel more often.
constexpr int kSumRegisters = 24;

template <class Sum>
HWY_INLINE Sum load_sum(const float* p) {
  return reinterpret_cast<Sum>(_mm512_loadu_si512(p));
}

// R rows times P neighbouring panels. Weights::finish makes y of complete sums.
template <class Weights, int R, int P>
__attribute__((noinline)) void multiply_tile(const LinearJob& job, const RowBlock& row_block,
                                             int first_panel) {
  using Sum = typename Weights::Sum;
  constexpr int kInputs = Weights::kInputsPerStep, kStep = kInputs * Weights::kBytesPerInput;
  constexpr int kWords = input_block_words(Weights::kForm);
  const int first_row = job.first_row(row_block.number);
  const size_t panel_bytes = job.w->panel_bytes();
  const std::byte* w = job.w->data() + static_cast<size_t>(first_panel) * panel_bytes +
                       static_cast<size_t>(row_block.first / kInputs) * kStep;
  const auto* x = reinterpret_cast<const int32_t*>(job.inputs) +
                  (static_cast<size_t>(first_row) * static_cast<size_t>(job.input_blocks) +
                   static_cast<size_t>(row_block.first / kInputBlock) * R) *
                      kWords;
  const PartialSums partial(job, row_block, first_panel);
  const Weights weights;
  Prefetcher prefetcher(w, R, Weights::kBytesPerInput, panel_bytes * P, row_block);
  Sum sums[P][R][kVectors];
  each_sum<P, R>([&](int p, int r, int v) DVLM_INLINE {
    sums[p][r][v] = row_block.first == 0 ? Sum{} : load_sum<Sum>(partial.of(p) + r * kPanel + v * 16);
  });
  for (int first = row_block.first; first < row_block.last; first += kInputBlock, x += R * kWords) {
    const int steps = (std::min(kInputBlock, row_block.last - first) + kInputs - 1) / kInputs;
    prefetcher.issue();
    for (int k = 0; k < steps; ++k, w += kStep) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        typename Weights::Word words[kVectors];
        weights.load(w + static_cast<size_t>(p) * panel_bytes, words);
        each_sum<1, R>([&](int, int r, int v) DVLM_INLINE {
          sums[p][r][v] = Weights::add(sums[p][r][v], words[v], x[r * kWords + k]);
        });
      }
    }
  }
  each_sum<P, R>([&](int p, int r, int v) DVLM_INLINE {
    if (row_block.last == job.w->inputs())
      Weights::finish(sums[p][r][v], job, first_row + r, (first_panel + p) * kPanel + v * 16);
    else
      std::memcpy(partial.of(p) + r * kPanel + v * 16, &sums[p][r][v], sizeof(Sum));
  });
}

template <class Weights, int R>
void some_panels(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  constexpr int kStep = panels_per_tile(Weights::kRegisters, R);
  for (; panel + kStep <= end; panel += kStep) Weights::template tile<R, kStep>(job, row_block, panel);
  for (; panel < end; ++panel) Weights::template tile<R, 1>(job, row_block, panel);
}

template <class Weights>
const LinearTiles* tiles_for() {
  constexpr int kRows = Weights::kRegisters / kVectors;
  static constexpr LinearTiles kTiles = []<int... R>(std::integer_sequence<int, R...>) {
    return LinearTiles{{some_panels<Weights, R + 1>...},
                       [](int rows) { return panels_per_tile(Weights::kRegisters, rows); },
                       kRows,
                       Weights::kForm};
  }
  (std::make_integer_sequence<int, kRows>());
  return &kTiles;
}

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
