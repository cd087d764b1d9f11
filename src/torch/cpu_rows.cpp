#include "torch/cpu_rows.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "torch/cpu_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <cmath>

#include "torch/cpu_vectors.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm::rows {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using namespace vectors::HWY_NAMESPACE;

// A sum over lanes that takes whole vectors and single elements.
struct Sum {
  hn::Vec<Wide> lanes;
  float rest;
  // Written out: a generated constructor would be compiled without the vector instructions.
  HWY_INLINE Sum() : lanes(hn::Zero(Wide())), rest(0) {}
  HWY_INLINE void add(Wide, hn::Vec<Wide> v) { lanes = hn::Add(lanes, v); }
  template <class D>
  HWY_INLINE void add(D, hn::Vec<D> v) {
    rest += hn::GetLane(v);
  }
  HWY_INLINE float total() const { return hn::GetLane(hn::SumOfLanes(Wide(), lanes)) + rest; }
};

float add_norm(const float* x, const bf16* delta, const float* weight, int n, float eps, float* sum,
               bf16* y) {
  Sum squares;
  each(n, [&](auto d, int i) HWY_ATTR {
    auto v = hn::LoadU(d, x + i);
    if (delta) v = hn::Add(v, load(d, delta + i));
    if (sum) hn::StoreU(v, d, sum + i);
    squares.add(d, hn::Mul(v, v));
  });
  const float factor = 1.0f / std::sqrt(squares.total() / static_cast<float>(n) + eps);
  const float* source = sum ? sum : x;
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto normed = hn::Mul(hn::LoadU(d, source + i), hn::Set(d, factor));
    store(d, hn::Mul(normed, hn::LoadU(d, weight + i)), y + i);
  });
  return factor;
}

void add_norm_backward(const bf16* d_y, const float* x, const float* weight, float factor, const float* d_sum,
                       int n, float* d_x, bf16* d_delta, float* d_weight) {
  Sum product;  // of the gradient at the normed row and the normed row
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto dy = load(d, d_y + i), normed = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    const auto dw = hn::Mul(dy, normed);
    hn::StoreU(hn::Add(hn::LoadU(d, d_weight + i), dw), d, d_weight + i);
    product.add(d, hn::Mul(dw, hn::LoadU(d, weight + i)));
  });
  const float mean = product.total() / static_cast<float>(n);
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto scaled = hn::Mul(load(d, d_y + i), hn::LoadU(d, weight + i));
    const auto normed = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    auto dx = hn::Mul(hn::NegMulAdd(normed, hn::Set(d, mean), scaled), hn::Set(d, factor));
    if (d_sum) dx = hn::Add(dx, hn::LoadU(d, d_sum + i));
    hn::StoreU(dx, d, d_x + i);
    if (d_delta) store(d, dx, d_delta + i);
  });
}

// 1 / (1 + e^-x). Beyond 88 the exponential overflows, and the result is 0 to within f32's range there.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  const auto decay = hn::Exp(d, hn::Max(hn::Min(hn::Neg(x), hn::Set(d, 88.0f)), hn::Set(d, -88.0f)));
  return hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), decay));
}

void swiglu(const bf16* gate_up, int n, bf16* y) {
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto gate = load(d, gate_up + i), up = load(d, gate_up + n + i);
    store(d, hn::Mul(hn::Mul(gate, sigmoid(d, gate)), up), y + i);
  });
}

void swiglu_backward(const bf16* gate_up, const bf16* d_y, int n, bf16* d_gate_up) {
  each(n, [&](auto d, int i) HWY_ATTR {
    const auto gate = load(d, gate_up + i), up = load(d, gate_up + n + i), dy = load(d, d_y + i);
    const auto s = sigmoid(d, gate), silu = hn::Mul(gate, s);
    const auto slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), s), s);  // s + g s (1 - s)
    store(d, hn::Mul(hn::Mul(dy, up), slope), d_gate_up + i);
    store(d, hn::Mul(dy, silu), d_gate_up + n + i);
  });
}

void rotate(const bf16* x, const float* cosine, const float* sine, int half, bf16* y) {
  each(half, [&](auto d, int i) HWY_ATTR {
    const auto a = load(d, x + i), b = load(d, x + half + i);
    const auto c = hn::LoadU(d, cosine + i), s = hn::LoadU(d, sine + i);
    store(d, hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), y + i);
    store(d, hn::Add(hn::Mul(b, c), hn::Mul(a, s)), y + half + i);
  });
}

void rotate_back(const float* x, const float* cosine, const float* sine, int half, bf16* y) {
  each(half, [&](auto d, int i) HWY_ATTR {
    const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cosine + i), s = hn::LoadU(d, sine + i);
    store(d, hn::Add(hn::Mul(a, c), hn::Mul(b, s)), y + i);
    store(d, hn::Sub(hn::Mul(b, c), hn::Mul(a, s)), y + half + i);
  });
}

void scale_row(const float* x, float scale, int n, bf16* y) {
  each(n, [&](auto d, int i) HWY_ATTR { store(d, hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), y + i); });
}

float dot(const bf16* a, const bf16* b, int n) {
  Sum sum;
  each(n, [&](auto d, int i) HWY_ATTR { sum.add(d, hn::Mul(load(d, a + i), load(d, b + i))); });
  return sum.total();
}

template <class D>
HWY_INLINE hn::Mask<D> seen(D d, const uint8_t* visible) {
  const hn::Rebind<uint8_t, D> d8;
  const hn::Rebind<int32_t, D> d32;
  const auto bytes = hn::PromoteTo(d32, hn::LoadU(d8, visible));
  return hn::RebindMask(d, hn::Ne(bytes, hn::Zero(d32)));
}

SoftmaxSums softmax(const float* scores, const uint8_t* visible, int n, float scale, bf16* probabilities) {
  constexpr float kLowest = -3e38f;
  const Wide wide;
  auto highest = hn::Set(wide, kLowest);
  const int lanes = static_cast<int>(hn::Lanes(wide));
  for (int i = 0; i < n; i += lanes)
    highest = hn::Max(highest, hn::IfThenElse(seen(wide, visible + i), hn::LoadU(wide, scores + i),
                                              hn::Set(wide, kLowest)));
  const float top = hn::GetLane(hn::MaxOfLanes(wide, highest));
  if (top == kLowest) {
    for (int i = 0; i < n; ++i) probabilities[i] = bf16{};
    return {0, 0};
  }
  const auto shift = hn::Set(wide, -top * scale), factor = hn::Set(wide, scale),
             least = hn::Set(wide, -100.0f);
  Sum sum;
  for (int i = 0; i < n; i += lanes) {
    const auto score = hn::MulAdd(hn::LoadU(wide, scores + i), factor, shift);
    // The scores of unseen columns may exceed `top` by any amount.
    const auto bounded = hn::Min(hn::Max(score, least), hn::Zero(wide));
    const auto p = hn::IfThenElseZero(seen(wide, visible + i), hn::Exp(wide, bounded));
    sum.add(wide, p);
    store(wide, p, probabilities + i);
  }
  const float total = sum.total();
  return {top * scale + std::log(total), 1.0f / total};
}

struct Gradient {
  hn::Vec<Wide> probability, d_score;
};

HWY_INLINE Gradient gradient(const SoftmaxRow& row, int i, hn::Vec<Wide> scale) {
  const Wide wide;
  const auto score = hn::MulSub(hn::LoadU(wide, row.scores + i), scale, hn::Set(wide, row.log_sum));
  const auto bounded = hn::Min(hn::Max(score, hn::Set(wide, -100.0f)), hn::Zero(wide));
  const auto p = hn::IfThenElseZero(seen(wide, row.visible + i), hn::Exp(wide, bounded));
  const auto slope =
      hn::Mul(hn::Sub(hn::LoadU(wide, row.d_probabilities + i), hn::Set(wide, row.delta)), scale);
  return {p, hn::Mul(p, slope)};
}

HWY_INLINE void store_pair(hn::Vec<Wide> even, hn::Vec<Wide> odd, bf16* out) {
  const Wide wide;
  const hn::Rebind<uint32_t, Wide> d32;
  const auto high = hn::And(rounded(wide, odd), hn::Set(d32, 0xFFFF0000u));
  hn::StoreU(hn::Or(hn::ShiftRight<16>(rounded(wide, even)), high), d32, reinterpret_cast<uint32_t*>(out));
}

void softmax_backward(const SoftmaxRow& even, const SoftmaxRow& odd, int n, float scale,
                      bf16* probability_pairs, bf16* d_score_pairs) {
  const Wide wide;
  const auto factor = hn::Set(wide, scale);
  const int lanes = static_cast<int>(hn::Lanes(wide));
  for (int i = 0; i < n; i += lanes) {
    const Gradient a = gradient(even, i, factor), b = gradient(odd, i, factor);
    store(wide, a.d_score, even.d_scores + i);
    store(wide, b.d_score, odd.d_scores + i);
    store_pair(a.d_score, b.d_score, d_score_pairs + 2 * i);
    store_pair(a.probability, b.probability, probability_pairs + 2 * i);
  }
}

void interleave(const bf16* even, const bf16* odd, int n, bf16* out) {
  for (int i = 0; i < n; ++i) out[2 * i] = even[i], out[2 * i + 1] = odd[i];
}

constexpr Kernels kKernels = {add_norm, add_norm_backward, swiglu,    swiglu_backward,
                              rotate,   rotate_back,       scale_row, dot,
                              softmax,  softmax_backward,  interleave};

const Kernels& compiled() {
  return kKernels;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm::rows
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm::rows {

HWY_EXPORT(compiled);

const Kernels& kernels() {
  return HWY_DYNAMIC_DISPATCH(compiled)();
}

}  // namespace dvlm::rows
#endif  // HWY_ONCE
