// What happens to complete sums of linear() on Highway's sets, once for each of them. Not for other rooms.
#if defined(DVLM_KERNELS_LINEAR_FINISH_H) == defined(HWY_TARGET_TOGGLE)
#ifdef DVLM_KERNELS_LINEAR_FINISH_H
#undef DVLM_KERNELS_LINEAR_FINISH_H
#else
#define DVLM_KERNELS_LINEAR_FINISH_H
#endif
#include <hwy/highway.h>

#include "kernels/linear_tiles.h"

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

// Rows and panels of one register tile, whose sums stay in registers. A panel is 2 vectors of AVX-512 (12
// rows take 24 of its 32 registers), 4 of AVX2 (3 rows take 12 of 16) and 8 of NEON (3 rows take 24 of 32);
// the rest hold a panel's weights and a broadcast input.
constexpr int kMaxRows = kLanes >= 16 ? 12 : kLanes == 8 ? 3 : HWY_TARGET == HWY_NEON ? 3 : 1;
constexpr int panels_per_tile(int rows) {
  const int registers = kLanes >= 16 || HWY_TARGET == HWY_NEON ? 24 : 12;
  return std::clamp(registers / (rows * kVectors), 1, 4);
}

// Rounds to nearest even; NaN stays NaN.
HWY_INLINE Vec round_to_bf16_vector(Vec x) {
  const U u;
  const auto bits = hn::BitCast(u, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7FFF))), hn::Set(u, 0xFFFF0000u));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::BitCast(F(), rounded));
}

// What happens to the sums of a row: for every output its scale, its bias, and y.
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

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#endif
