#include "torch/cpu_matrix.h"

#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "torch/cpu_rows.h"

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

}  // namespace

void multiply_pairs(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c, int ld_c,
                    bool accumulate) {
  if (!has_tiles()) {
    const auto multiply = has_dot_products() ? multiply_dot_products : rows::kernels().multiply_pairs;
    return multiply(m, n, k, a, ld_a, b, ld_b, c, ld_c, accumulate);
  }
  at::native::cpublas::brgemm(m, n, k, ld_a, ld_b, ld_c, accumulate, reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c);
}

void release_pair_products() {
  if (has_tiles()) at::native::cpublas::brgemm_release();
}

}  // namespace dvlm
