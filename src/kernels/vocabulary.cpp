#include "kernels/vocabulary.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vocabulary.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using D = hn::CappedTag<double, 8>;
using HalfF = hn::Rebind<float, D>;
using HalfI = hn::Rebind<int32_t, D>;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr size_t kLanes = hn::MaxLanes(F());
constexpr size_t kHalf = hn::MaxLanes(D());

// The smallest of the row's finite values, or its largest when there are none smaller.
float lowest_finite(const float* x, size_t n, float best) {
  const F f;
  auto low = hn::Set(f, best);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto v = hn::LoadU(f, x + i);
    low = hn::Min(low, hn::IfThenElse(hn::Gt(v, hn::Set(f, kLowest)), v, low));
  }
  float lowest = hn::GetLane(hn::MinOfLanes(f, low));
  for (; i < n; ++i)
    if (x[i] > kLowest) lowest = std::min(lowest, x[i]);
  return lowest;
}

Peak peak(const float* x, size_t n) {
  const F f;
  auto high = hn::Set(f, kLowest);
  auto bad = hn::Zero(f);  // 1 in a lane that met a NaN
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto v = hn::LoadU(f, x + i);
    const auto nan = hn::IsNaN(v);
    bad = hn::IfThenElse(nan, hn::Set(f, 1.0f), bad);
    high = hn::IfThenElse(hn::Gt(v, high), v, high);
  }
  Peak out{hn::GetLane(hn::MaxOfLanes(f, high)), hn::GetLane(hn::MaxOfLanes(f, bad)) > 0};
  for (; i < n; ++i) {
    out.nan |= std::isnan(x[i]);
    if (x[i] > out.highest) out.highest = x[i];
  }
  return out;
}

double sum_exponentials(const float* x, size_t n, float most) {
  constexpr size_t kTile = 1024;  // a float loses little in so few terms
  const F f;
  const auto top = hn::Set(f, most), least = hn::Set(f, -100.0f);  // far below what a float keeps beside 1
  const auto term = [&](auto v) { return hn::Exp(f, hn::Max(hn::Sub(v, top), least)); };
  double sum = 0;
  size_t i = 0;
  while (i + kLanes <= n) {
    auto part = hn::Zero(f);
    for (const size_t end = std::min(n, i + kTile); i + kLanes <= end; i += kLanes)
      part = hn::Add(part, term(hn::LoadU(f, x + i)));
    sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(f, part)));
  }
  for (; i < n; ++i) sum += static_cast<double>(std::exp(x[i] - most));
  return sum;
}

HWY_INLINE int bucket_of(float x, float best, float scale) {
  return static_cast<int>(std::min((best - x) * scale, static_cast<float>(MassBuckets::kCount - 1)));
}

HWY_INLINE hn::Vec<HalfI> buckets_of(hn::Vec<HalfF> v, float best, float scale) {
  const HalfF h;
  const auto far = hn::Mul(hn::Sub(hn::Set(h, best), v), hn::Set(h, scale));
  return hn::ConvertTo(HalfI(), hn::Min(far, hn::Set(h, static_cast<float>(MassBuckets::kCount - 1))));
}

void fill_buckets(const float* x, size_t n, MassBuckets& to) {
  const D d;
  const HalfF h;
  const double factor = std::min(1 / to.temperature, std::numeric_limits<double>::max());
  HWY_ALIGN double weights[kHalf];
  HWY_ALIGN int32_t buckets[kHalf];
  size_t i = 0;
  for (; i + kHalf <= n; i += kHalf) {
    const auto v = hn::LoadU(h, x + i);
    const auto distance = hn::Sub(hn::PromoteTo(d, v), hn::Set(d, static_cast<double>(to.best)));
    const auto weight = hn::Exp(d, hn::Mul(hn::Max(distance, hn::Set(d, -1e300)), hn::Set(d, factor)));
    hn::Store(hn::IfThenElseZero(hn::Gt(distance, hn::Set(d, -1e300)), weight), d, weights);
    hn::Store(buckets_of(v, to.best, to.scale), HalfI(), buckets);
    for (size_t lane = 0; lane < kHalf; ++lane) {
      to.mass[static_cast<size_t>(buckets[lane])] += weights[lane];
      ++to.count[static_cast<size_t>(buckets[lane])];
    }
  }
  for (; i < n; ++i) {
    const auto bucket = static_cast<size_t>(bucket_of(x[i], to.best, to.scale));
    to.mass[bucket] += to.weight(x[i]);
    ++to.count[bucket];
  }
}

void collect_bucket(const float* x, size_t n, const MassBuckets& from, int bucket,
                    std::vector<int32_t>& indices) {
  const HalfF h;
  const HalfI integers;
  const auto take = [&](size_t i) {
    if (x[i] > kLowest && bucket_of(x[i], from.best, from.scale) == bucket)
      indices.push_back(static_cast<int32_t>(i));
  };
  size_t i = 0;
  for (; i + kHalf <= n; i += kHalf) {
    const auto found = buckets_of(hn::LoadU(h, x + i), from.best, from.scale);
    if (hn::AllFalse(integers, hn::Eq(found, hn::Set(integers, bucket)))) continue;
    for (size_t lane = 0; lane < kHalf; ++lane) take(i + lane);
  }
  for (; i < n; ++i) take(i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(peak);
HWY_EXPORT(lowest_finite);
HWY_EXPORT(sum_exponentials);
HWY_EXPORT(fill_buckets);
HWY_EXPORT(collect_bucket);

Peak peak_of(std::span<const float> x) {
  return HWY_DYNAMIC_DISPATCH(peak)(x.data(), x.size());
}

double exponential_sum(std::span<const float> x, float most) {
  return HWY_DYNAMIC_DISPATCH(sum_exponentials)(x.data(), x.size(), most);
}

double MassBuckets::weight(float x) const {
  return std::exp((static_cast<double>(x) - static_cast<double>(best)) / temperature);
}

void MassBuckets::fill(std::span<const float> x, float highest, double warmth) {
  constexpr float kNothing = 45;  // exp(-45) of the largest weight is lost beside it in a double
  best = highest;
  temperature = warmth;
  mass.assign(kCount, 0);
  count.assign(kCount, 0);
  const float spread = best - HWY_DYNAMIC_DISPATCH(lowest_finite)(x.data(), x.size(), best);
  constexpr float kLargest = std::numeric_limits<float>::max();
  const float range = std::min({spread, kNothing * static_cast<float>(warmth), kLargest});
  scale = range > 0 ? std::min((kCount - 1) / range, kLargest) : 1;
  HWY_DYNAMIC_DISPATCH(fill_buckets)(x.data(), x.size(), *this);
}

void MassBuckets::collect(std::span<const float> x, int bucket, std::vector<int32_t>& indices) const {
  indices.clear();
  HWY_DYNAMIC_DISPATCH(collect_bucket)(x.data(), x.size(), *this, bucket, indices);
}

}  // namespace dvlm
#endif  // HWY_ONCE
