#include "kernels/elementwise.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <cmath>

#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using Vec = hn::Vec<F>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));

float sum_of_squares(const float* x, int n) {
  const F f;
  Vec a = hn::Zero(f), b = hn::Zero(f);
  int i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const Vec u = hn::LoadU(f, x + i), v = hn::LoadU(f, x + i + kLanes);
    a = hn::MulAdd(u, u, a), b = hn::MulAdd(v, v, b);
  }
  float sum = hn::GetLane(hn::SumOfLanes(f, hn::Add(a, b)));
  for (; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

void rms_norm_row(const float* x, int n, const float* weight, float eps, float* y) {
  const F f;
  const float scale = 1.0f / std::sqrt(sum_of_squares(x, n) / static_cast<float>(n) + eps);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec normed = hn::Mul(hn::LoadU(f, x + i), hn::Set(f, scale));
    hn::StoreU(hn::Mul(hn::LoadU(f, weight + i), normed), f, y + i);
  }
  for (; i < n; ++i) y[i] = weight[i] * (x[i] * scale);
}

HWY_INLINE Vec silu_times(Vec gate, Vec up) {
  const F f;
  // The exponential overflows beyond 88, where silu is 0 to within f32's range.
  const Vec decay = hn::Exp(f, hn::Min(hn::Neg(gate), hn::Set(f, 88.0f)));
  return hn::Mul(hn::Div(gate, hn::Add(hn::Set(f, 1.0f), decay)), up);
}

void swiglu_row(float* gate, const float* up, int n) {
  const F f;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(silu_times(hn::LoadU(f, gate + i), hn::LoadU(f, up + i)), f, gate + i);
  }
  if (i == n) return;
  HWY_ALIGN float g[kLanes] = {}, u[kLanes] = {};
  for (int j = i; j < n; ++j) g[j - i] = gate[j], u[j - i] = up[j];
  hn::Store(silu_times(hn::Load(f, g), hn::Load(f, u)), f, g);
  for (int j = i; j < n; ++j) gate[j] = g[j - i];
}

void rotate_head(float* x, int half, const float* cos, const float* sin) {
  const F f;
  int i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec u = hn::LoadU(f, x + i), v = hn::LoadU(f, x + half + i);
    const Vec c = hn::LoadU(f, cos + i), s = hn::LoadU(f, sin + i);
    hn::StoreU(hn::Sub(hn::Mul(u, c), hn::Mul(v, s)), f, x + i);
    hn::StoreU(hn::Add(hn::Mul(v, c), hn::Mul(u, s)), f, x + half + i);
  }
  for (; i < half; ++i) {
    const float u = x[i], v = x[half + i];
    x[i] = u * cos[i] - v * sin[i];
    x[half + i] = v * cos[i] + u * sin[i];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(rms_norm_row);
HWY_EXPORT(swiglu_row);
HWY_EXPORT(rotate_head);

void rms_norm(Rows x, int columns, const float* weight, float eps, Rows y, ThreadPool& pool) {
  split_each(pool, x.count, 0.3 * columns, [&](int i) {
    HWY_DYNAMIC_DISPATCH(rms_norm_row)(x.row(i), columns, weight, eps, y.row(i));
  });
}

void swiglu(Rows gate_up, int columns, ThreadPool& pool) {
  split_each(pool, gate_up.count, 1.0 * columns, [&](int i) {
    float* gate = gate_up.row(i);
    HWY_DYNAMIC_DISPATCH(swiglu_row)(gate, gate + columns, columns);
  });
}

void gelu(Rows x, int columns, ThreadPool& pool) {
  split_each(pool, x.count, 12.0 * columns, [&](int i) {
    float* row = x.row(i);
    for (int k = 0; k < columns; ++k) row[k] = 0.5f * row[k] * (1.0f + std::erf(row[k] * 0.70710678f));
  });
}

void rotary(Rows x, int heads, int head_dim, const float* cos, const float* sin, ThreadPool& pool) {
  const int half = head_dim / 2;
  split_each(pool, x.count, 0.3 * heads * head_dim, [&](int i) {
    const ptrdiff_t at = ptrdiff_t{i} * half;
    for (int h = 0; h < heads; ++h)
      HWY_DYNAMIC_DISPATCH(rotate_head)(x.row(i) + ptrdiff_t{h} * head_dim, half, cos + at, sin + at);
  });
}

}  // namespace dvlm
#endif  // HWY_ONCE
