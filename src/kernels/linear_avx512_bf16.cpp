// Linear layers with AVX-512's dot products of bf16 pairs and of four bytes: two and four products for each
// that an f32 multiply-add makes. e4m3 weights become bf16 by two byte permutes of 128 entries, exactly, just
// before they are multiplied.
#include "kernels/linear_avx512.h"

#if defined(__x86_64__)
#include <utility>

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

// How the words of a panel, 32 per step of inputs, meet a broadcast word of inputs.
struct Bf16Weights {
  static constexpr int kRegisters = kSumRegisters;
  static constexpr int kInputsPerStep = 2, kBytesPerInput = kPanel * 2;
  static constexpr InputForm kForm = InputForm::pairs;
  using Sum = __m512;
  using Word = __m512bh;
  static Sum add(Sum sum, Word weights, int32_t x) {
    return _mm512_dpbf16_ps(sum, weights, reinterpret_cast<__m512bh>(_mm512_set1_epi32(x)));
  }
  void load(const std::byte* p, Word* w) const {
    w[0] = reinterpret_cast<__m512bh>(_mm512_load_si512(p));
    w[1] = reinterpret_cast<__m512bh>(_mm512_load_si512(p + 64));
  }
};

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
  void load(const std::byte* p, Word* w) const {
    w[0] = _mm512_load_si512(p);
    w[1] = _mm512_load_si512(p + 64);
  }
};

struct Fp8Weights : Bf16Weights {
  static constexpr int kBytesPerInput = kPanel;
  E4m3Pairs pairs;
  void load(const std::byte* p, __m512bh* w) const {
    __m512i words[2];
    pairs.dequantize(p, words);
    w[0] = reinterpret_cast<__m512bh>(words[0]);
    w[1] = reinterpret_cast<__m512bh>(words[1]);
  }
};

// Inputs were 128 too large.
void finish(__m512i sum, const LinearJob& job, int row, int output) {
  const __m512i excess = _mm512_slli_epi32(_mm512_loadu_si512(job.w->code_sums() + output), 7);
  finish(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, excess)), job, row, output);
}

template <class Sum>
HWY_INLINE Sum load_sum(const float* p) {
  return reinterpret_cast<Sum>(_mm512_loadu_si512(p));
}

// R rows times P neighbouring panels.
template <class Weights, int R, int P>
__attribute__((noinline)) void tile(const LinearJob& job, const RowBlock& row_block, int first_panel) {
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
      finish(sums[p][r][v], job, first_row + r, (first_panel + p) * kPanel + v * 16);
    else
      std::memcpy(partial.of(p) + r * kPanel + v * 16, &sums[p][r][v], sizeof(Sum));
  });
}

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
  const Int4Place place(job, row_block, first_panel);
  const std::byte *w = place.weights, *scales = place.scales;
  const int32_t* x = place.x;
  const __m512i low = _mm512_set1_epi8(15);
  Prefetcher prefetcher(w, R, Int4Place::kBytesPerInput, panel_bytes * P, row_block);
  const PartialSums partial(job, row_block, first_panel);
  alignas(64) float sums[P][R][kPanel];  // in memory: the integers need the registers
  for (int p = 0; p < P; ++p) partial.load(p, sums[p][0]);
  for (int first = row_block.first; first < row_block.last;
       first += kInt4Group, x += R * kLine, scales += kPanel * sizeof(bf16)) {
    __m512i codes[P][R][kVectors];
    each_sum<P, R>([&](int p, int r, int v)
                       DVLM_INLINE { codes[p][r][v] = _mm512_set1_epi32(x[r * kLine + kLine - 1]); });
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
      add_scaled<R>(codes[p], scales + static_cast<size_t>(p) * panel_bytes, sums[p]);
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
};

template <class Weights, int R, int P>
void tile_of(const LinearJob& job, const RowBlock& row_block, int panel) {
  if constexpr (std::is_same_v<Weights, Int4Weights>)
    tile_int4<R, P>(job, row_block, panel);
  else
    tile<Weights, R, P>(job, row_block, panel);
}

template <class Weights, int R>
void some_panels(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  constexpr int kStep = panels_per_tile(Weights::kRegisters, R);
  for (; panel + kStep <= end; panel += kStep) tile_of<Weights, R, kStep>(job, row_block, panel);
  for (; panel < end; ++panel) tile_of<Weights, R, 1>(job, row_block, panel);
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

const LinearTiles* avx512_bf16_tiles(WeightFormat format) {
  static const TilesByFormat kTiles = {nullptr, tiles_for<Bf16Weights>(), tiles_for<Fp8Weights>(),
                                       tiles_for<Int8Weights>(), tiles_for<Int4Weights>()};
  const LinearTiles* tiles = kTiles[static_cast<size_t>(format)];
  return tiles ? tiles : highway_tiles(format);
}

double avx512_bf16_multiply(int64_t rounds) {
  constexpr int kSums = 16;
  __m512 sums[kSums], total = _mm512_setzero_ps();
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));  // or they would be one
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3F80));             // 1
  const auto b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3080));             // 2^-30
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  }
#pragma GCC unroll 16
  for (const auto& sum : sums) total = _mm512_add_ps(total, sum);
  asm volatile("" : : "m"(total));
  return 2.0 * kSums * 32 * static_cast<double>(rounds);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
