#include "torch/cpu_product.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "torch/cpu_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>

#include "torch/cpu_vectors.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm::product {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using namespace vectors::HWY_NAMESPACE;

// Of sums in registers; 6 x 2 vectors leave room in sixteen registers for a row of B and a number of A.
constexpr int kRows = 6, kVectors = HWY_ARCH_ARM_A64 ? 4 : 2;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Wide())), kPanel = kVectors * kLanes;

void widen(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to, ptrdiff_t ld_to) {
  for (int r = 0; r < rows; ++r, from += ld_from, to += ld_to) {
    each(columns, [&](auto d, int i) HWY_ATTR { hn::StoreU(load(d, from + i), d, to + i); });
    std::fill(to + columns, to + ld_to, 0.0f);
  }
}

// Reads much of each row at once: rows lie apart, and a processor foresees no short pieces of them.
void widen_transposed(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to, ptrdiff_t tile) {
  constexpr int kTogether = 32 * kRows;
  for (int c = 0; c < columns; c += kTogether, from += kTogether, to += kTogether / kRows * tile) {
    const int count = std::min(kTogether, columns - c);
    for (int r = 0; r < rows; ++r) {
      float row[kTogether];
      widen(from + r * ld_from, 0, 1, count, row, (count + kRows - 1) / kRows * kRows);
      for (int i = 0; i < count; i += kRows) std::copy_n(row + i, kRows, to + (i / kRows * tile + r * kRows));
    }
  }
}

void widen_pairs(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to) {
  for (int r = 0; r < rows; r += 2, from += 2 * ld_from, to += 2 * kPanel) {
    const auto* pairs = reinterpret_cast<const uint32_t*>(from);
    each(columns, [&](auto d, int i) HWY_ATTR {
      const hn::RebindToUnsigned<decltype(d)> d32;
      const auto both = hn::LoadU(d32, pairs + i);
      hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(both)), d, to + i);
      hn::StoreU(hn::BitCast(d, hn::And(both, hn::Set(d32, 0xFFFF0000u))), d, to + kPanel + i);
    });
    std::fill(to + columns, to + kPanel, 0.0f);
    std::fill(to + kPanel + columns, to + 2 * kPanel, 0.0f);
  }
}

using Vector = hn::Vec<Wide>;

// Columns [0, columns <= kPanel) of a row of C.
HWY_INLINE void store_row(const Vector* sums, int columns, float* c, bool accumulate) {
  const Wide d;
  if (columns == kPanel) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* to = c + v * kLanes;
      hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sums[v]) : sums[v], d, to);
    }
    return;
  }
  float row[kPanel];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[v], d, row + v * kLanes);
  for (int j = 0; j < columns; ++j) c[j] = accumulate ? c[j] + row[j] : row[j];
}

// Rows [0, rows <= kRows) of a panel of C. The loops over sums are unrolled, or these would lie in memory.
HWY_INLINE void multiply_tile(int rows, int columns, int k, const FloatMatrix& a, const float* panel,
                              float* c, ptrdiff_t ld_c, bool accumulate) {
  const Wide d;
  const float* from[kRows];
  Vector sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    from[r] = a.data + std::min(r, rows - 1) * a.row;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  for (ptrdiff_t t = 0, at = 0; t < k; ++t, at += a.step, panel += kPanel) {
    Vector b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) b[v] = hn::LoadU(d, panel + v * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const Vector number = hn::Set(d, from[r][at]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(number, b[v], sums[r][v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
    if (r < rows) store_row(sums[r], columns, c + r * ld_c, accumulate);
}

void multiply(int m, int n, int k, const FloatMatrix& a, const float* panels, float* c, ptrdiff_t ld_c,
              bool accumulate) {
  for (int j = 0; j < n; j += kPanel, panels += static_cast<ptrdiff_t>(k) * kPanel)
    for (int i = 0; i < m; i += kRows)
      multiply_tile(std::min(kRows, m - i), std::min(kPanel, n - j), k,
                    {a.data + i / kRows * a.tile, a.tile, a.row, a.step}, panels, c + i * ld_c + j, ld_c,
                    accumulate);
}

void narrow(const float* x, const float* bias, int n, bf16* y) {
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    store(d, bias ? hn::Add(v, hn::LoadU(d, bias + i)) : v, y + i);
  });
}

constexpr Kernels kKernels = {kRows, kPanel, widen, widen_transposed, widen_pairs, multiply, narrow};

const Kernels& compiled() {
  return kKernels;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm::product
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm::product {

HWY_EXPORT(compiled);

const Kernels& kernels() {
  return HWY_DYNAMIC_DISPATCH(compiled)();
}

}  // namespace dvlm::product
#endif  // HWY_ONCE
