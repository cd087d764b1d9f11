#include "torch/cpu_matrix.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "torch/cpu_product.h"

namespace dvlm {
namespace {

bool has_tiles() {
  static const bool has = at::native::cpublas::could_pack(at::kBFloat16);
  return has;
}

#if defined(__x86_64__)

bool has_dot_products() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
  return has;
}

constexpr int kRows = 4;  // of C in registers, beside up to 4 vectors of columns

// Rows [0, rows <= kRows) and columns [0, 16 * vectors) of C, the last vector's under `last`.
template <int vectors>
__attribute__((target("avx512f,avx512bf16"))) void block(int rows, int k, const bf16* a, int ld_a,
                                                         const bf16* b, int ld_b, float* c, int ld_c,
                                                         __mmask16 last, bool accumulate) {
  const auto mask = [&](int v) { return v + 1 == vectors ? last : static_cast<__mmask16>(0xFFFF); };
  __m512 sums[kRows][vectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < vectors; ++v)
      sums[r][v] = accumulate && r < rows ? _mm512_maskz_loadu_ps(mask(v), c + r * ld_c + 16 * v)
                                          : _mm512_setzero_ps();
  const bf16* a_rows[kRows];
  for (int r = 0; r < kRows; ++r) a_rows[r] = a + static_cast<ptrdiff_t>(r < rows ? r : 0) * ld_a;
  for (int i = 0; i < k; i += 2, b += 2 * static_cast<ptrdiff_t>(ld_b)) {
    __m512bh columns[vectors];
    for (int v = 0; v < vectors; ++v)
      columns[v] = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(mask(v), b + 32 * v));
    for (int r = 0; r < kRows; ++r) {
      int32_t pair;
      std::memcpy(&pair, a_rows[r] + i, sizeof(pair));
      const auto row = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (int v = 0; v < vectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, columns[v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) _mm512_mask_storeu_ps(c + r * ld_c + 16 * v, mask(v), sums[r][v]);
}

void multiply_dot_products(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c,
                           int ld_c, bool accumulate) {
  constexpr decltype(&block<1>) kBlocks[] = {block<1>, block<2>, block<3>, block<4>};
  for (int j = 0; j < n; j += 64) {
    const int columns = std::min(64, n - j), vectors = (columns + 15) / 16;
    const auto last = static_cast<__mmask16>(0xFFFF >> (16 * vectors - columns));
    for (int i = 0; i < m; i += kRows)
      kBlocks[vectors - 1](std::min(kRows, m - i), k, a + static_cast<ptrdiff_t>(i) * ld_a, ld_a, b + 2 * j,
                           ld_b, c + static_cast<ptrdiff_t>(i) * ld_c + j, ld_c, last, accumulate);
  }
}

#else

bool has_dot_products() {
  return false;
}
void multiply_dot_products(int, int, int, const bf16*, int, const bf16*, int, float*, int, bool) {}

#endif

// Products of a sum between two visits to C: a piece of B stays in the first cache that long.
constexpr int kDepth = 256;

void multiply_pairs_in_float(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c,
                             int ld_c, bool accumulate) {
  const product::Kernels& kernels = product::kernels();
  thread_local std::vector<float> buffer;
  buffer.resize(
      std::max(buffer.size(), static_cast<size_t>(kDepth) * static_cast<size_t>(m + kernels.panel)));
  float *rows = buffer.data(), *panel = rows + static_cast<ptrdiff_t>(m) * kDepth;
  for (int t = 0; t < k; t += kDepth) {
    const int depth = std::min(kDepth, k - t);
    kernels.widen(a + t, ld_a, m, depth, rows, depth);
    for (int j = 0; j < n; j += kernels.panel) {
      const int columns = std::min(kernels.panel, n - j);
      kernels.widen_pairs(b + static_cast<ptrdiff_t>(t) * ld_b + 2 * j, ld_b, depth, columns, panel);
      kernels.multiply(m, columns, depth, {rows, kernels.tile_rows * depth, depth, 1}, panel, c + j, ld_c,
                       accumulate || t > 0);
    }
  }
}

using Floats = std::unique_ptr<float[]>;

Floats floats(int64_t count) {
  return std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count));
}

// All of B [k, n] in panels.
Floats panels_of(const HalfMatrix& b, int64_t n, int64_t k) {
  const product::Kernels& kernels = product::kernels();
  const int64_t width = kernels.panel, count = (n + width - 1) / width;
  Floats panels = floats(count * width * k);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      float* panel = panels.get() + p * width * k;
      const int64_t columns = std::min(width, n - p * width);
      const bf16* from = b.data + p * width * b.column;
      if (b.column == 1) {
        kernels.widen(from, b.row, static_cast<int>(k), static_cast<int>(columns), panel, width);
        continue;
      }
      for (int64_t j = 0; j < width; ++j)
        for (int64_t t = 0; t < k; ++t)
          panel[t * width + j] = j < columns ? to_float(from[t * b.row + j * b.column]) : 0.0f;
    }
  });
  return panels;
}

// Calls use(first row of A, rows, these rows in f32) for all rows, on all threads.
template <class Use>
void each_block(int64_t m, int64_t k, const HalfMatrix& a, const Use& use) {
  constexpr int64_t kFloats = 48 * 1024;  // of a block, which stays in the second cache
  constexpr int64_t kApart = 16;          // so that tiles do not share a cache's sets
  const product::Kernels& kernels = product::kernels();
  const int64_t height = kernels.tile_rows, tile = height * k + kApart;
  const int64_t tiles = std::clamp<int64_t>(kFloats / tile, 8, 32);
  at::parallel_for(0, (m + height - 1) / height, 1, [&](int64_t begin, int64_t end) {
    const Floats block = floats(tiles * tile);
    const int64_t last = std::min(end * height, m);
    for (int64_t at = begin * height; at < last; at += tiles * height) {
      const auto rows = static_cast<int>(std::min(tiles * height, last - at)), depth = static_cast<int>(k);
      const bf16* from = a.data + at * a.row;
      if (a.column == 1) {
        kernels.widen(from, a.row, rows, depth, block.get(), depth);
        use(at, rows, product::FloatMatrix{block.get(), height * k, k, 1});
      } else {
        kernels.widen_transposed(from, a.column, depth, rows, block.get(), tile);
        use(at, rows, product::FloatMatrix{block.get(), tile, 1, height});
      }
    }
  });
}

}  // namespace

void multiply_in_float(int64_t m, int64_t n, int64_t k, const HalfMatrix& a, const HalfMatrix& b,
                       const float* bias, bf16* y) {
  const product::Kernels& kernels = product::kernels();
  const Floats panels = panels_of(b, n, k);
  each_block(m, k, a, [&](int64_t at, int rows, const product::FloatMatrix& block) {
    const Floats sums = floats(rows * n);
    kernels.multiply(rows, static_cast<int>(n), static_cast<int>(k), block, panels.get(), sums.get(), n,
                     false);
    for (int r = 0; r < rows; ++r)
      kernels.narrow(sums.get() + r * n, bias, static_cast<int>(n), y + (at + r) * n);
  });
}

void add_product_in_float(int64_t m, int64_t n, int64_t k, const HalfMatrix& a, const HalfMatrix& b,
                          float* c) {
  for (int64_t t = 0; t < k; t += kDepth) {
    const int64_t depth = std::min<int64_t>(kDepth, k - t);
    const Floats panels = panels_of({b.data + t * b.row, b.row, b.column}, n, depth);
    each_block(m, depth, {a.data + t * a.column, a.row, a.column},
               [&](int64_t at, int rows, const product::FloatMatrix& block) {
                 product::kernels().multiply(rows, static_cast<int>(n), static_cast<int>(depth), block,
                                             panels.get(), c + at * n, n, true);
               });
  }
}

void multiply_pairs(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c, int ld_c,
                    bool accumulate) {
  if (!has_tiles()) {
    const auto multiply = has_dot_products() ? multiply_dot_products : multiply_pairs_in_float;
    return multiply(m, n, k, a, ld_a, b, ld_b, c, ld_c, accumulate);
  }
  at::native::cpublas::brgemm(m, n, k, ld_a, ld_b, ld_c, accumulate, reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c);
}

void release_pair_products() {
  if (has_tiles()) at::native::cpublas::brgemm_release();
}

}  // namespace dvlm
