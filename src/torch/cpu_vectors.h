// Vectors of f32 from and to memory of bf16, for the sources that are compiled once per instruction set.
// clang-format off
#if defined(DVLM_TORCH_CPU_VECTORS_H) == defined(HWY_TARGET_TOGGLE)
#ifdef DVLM_TORCH_CPU_VECTORS_H
#undef DVLM_TORCH_CPU_VECTORS_H
#else
#define DVLM_TORCH_CPU_VECTORS_H
#endif
// clang-format on
#include <hwy/highway.h>

#include "core/types.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm::vectors {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;

// Calls body(tag, i) for whole vectors and then for what is left, one at a time.
template <class Body>
HWY_INLINE void each(int n, const Body& body) {
  const Wide wide;
  const Single single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  int i = 0;
  for (; i + lanes <= n; i += lanes) body(wide, i);
  for (; i < n; ++i) body(single, i);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const bf16* p) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, &p->bits))));
}

// The rounded value in the upper 16 bits of each lane.
template <class D>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, D>> rounded(D, hn::Vec<D> v) {
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  return hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7FFF)));
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, bf16* p) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<int32_t, D> signed32;
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(signed32, hn::ShiftRight<16>(rounded(d, v)))), d16, &p->bits);
}

}  // namespace HWY_NAMESPACE
}  // namespace dvlm::vectors
HWY_AFTER_NAMESPACE();

#endif
