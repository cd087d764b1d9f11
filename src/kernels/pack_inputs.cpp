// The packing of linear()'s inputs, compiled once per instruction set.
#include "kernels/linear_tiles.h"
#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pack_inputs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <limits>

#include "kernels/linear_finish.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

// Rounds to the nearest e4m3 number, ties to even; beyond 448 to 448.
HWY_INLINE Vec round_to_e4m3_vector(Vec x) {
  const F f;
  const U u;
  const Vec magnitude = hn::Min(hn::Abs(x), hn::Set(f, 448.0f));
  const auto bits = hn::BitCast(u, magnitude);
  const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(u, 1));
  const auto rounded = hn::And(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7FFFF))), hn::Set(u, 0xFFF00000u));
  // Steps below the least normal number are 2^-9.
  const Vec step = hn::Set(f, 0x1.8p14f), small = hn::Sub(hn::Add(magnitude, step), step);
  const auto normal = hn::Ge(magnitude, hn::Set(f, 0x1p-6f));
  return hn::CopySign(hn::IfThenElse(normal, hn::BitCast(f, rounded), small), x);
}

// Calls use(block, its values) for the blocks of a row, zero beyond the last input.
template <class Use>
HWY_INLINE void each_input_block(const float* row, int inputs, const Use& use) {
  const int whole = inputs / kInputBlock, left = inputs % kInputBlock;
  for (int b = 0; b < whole; ++b) use(b, row + b * kInputBlock);
  if (left == 0) return;
  HWY_ALIGN float tail[kInputBlock] = {};
  std::copy_n(row + whole * kInputBlock, left, tail);
  use(whole, tail);
}

// How each form holds 16 values, which are numbers of that form already.
HWY_INLINE void store_floats(const float* values, float* to) {
  for (int i = 0; i < kInputBlock; i += kLanes) hn::StoreU(hn::Load(F(), values + i), F(), to + i);
}
HWY_INLINE void store_pairs(const float* values, float* to) {
  const hn::Rebind<uint16_t, F> halves;
  auto* out = reinterpret_cast<uint16_t*>(to);
  for (int i = 0; i < kInputBlock; i += kLanes) {
    const auto bits = hn::BitCast(U(), hn::Load(F(), values + i));
    hn::StoreU(hn::TruncateTo(halves, hn::ShiftRight<16>(bits)), halves, out + i);
  }
}
HWY_INLINE void store_shorts(const float* values, float* to) {
  auto* out = reinterpret_cast<int16_t*>(to);
  for (int i = 0; i < kInputBlock; i += 4)
    for (int k = 0; k < 4; ++k) out[i + k % 2 * 2 + k / 2] = static_cast<int16_t>(values[i + k]);
}
// The low bytes of values + excess. Returns the sum of the values.
HWY_INLINE int store_bytes(const float* values, int excess, float* to) {
  const hn::RebindToSigned<F> integers;
  const hn::Rebind<uint8_t, F> bytes;
  auto* out = reinterpret_cast<uint8_t*>(to);
  auto sum = hn::Zero(integers);
  for (int i = 0; i < kInputBlock; i += kLanes) {
    const auto value = hn::ConvertTo(integers, hn::Load(F(), values + i));
    const auto low = hn::BitCast(U(), hn::Add(value, hn::Set(integers, excess)));
    hn::StoreU(hn::TruncateTo(bytes, low), bytes, out + i);
    sum = hn::Add(sum, value);
  }
  return hn::GetLane(hn::SumOfLanes(integers, sum));
}
HWY_INLINE void store_summed_bytes(const float* values, bool first_of_line, float* to) {
  const int sum = store_bytes(values, 0, to);
  int before = 0;
  if (!first_of_line) std::memcpy(&before, to - 1, sizeof before);
  before -= sum;
  std::memcpy(to + 4, &before, sizeof before);
}

void store(const PackedInput& to, int input_block, const float* values) {
  const int blocks = input_blocks_per_line(to.form), at = input_block % blocks;
  float* words =
      to.out + static_cast<size_t>(input_block / blocks) * to.step + at * input_block_words(to.form);
  switch (to.form) {
    case InputForm::floats:
      return store_floats(values, words);
    case InputForm::pairs:
    case InputForm::tile_pairs:
      return store_pairs(values, words);
    case InputForm::shorts:
      return store_shorts(values, words);
    case InputForm::summed_bytes:
      return store_summed_bytes(values, at == 0, words);
    case InputForm::bytes:
      store_bytes(values, 128, words);
      return;
    case InputForm::signed_bytes:
    case InputForm::tile_bytes:
      store_bytes(values, 0, words);
      return;
  }
}

template <class Change>
void pack_changed(const float* row, int inputs, const PackedInput& to, const Change& change) {
  const F f;
  HWY_ALIGN float values[kInputBlock];
  each_input_block(row, inputs, [&](int b, const float* from) HWY_ATTR {
    for (int i = 0; i < kInputBlock; i += kLanes) hn::Store(change(hn::LoadU(f, from + i)), f, values + i);
    store(to, b, values);
  });
  std::fill_n(values, kInputBlock, 0.0f);
  for (int b = (inputs + kInputBlock - 1) / kInputBlock; b < to.input_blocks; ++b) store(to, b, values);
}

float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedInput& to) {
  const F f;
  switch (format) {
    case WeightFormat::f32_panels:
      pack_changed(row, inputs, to, [](Vec x) HWY_ATTR { return x; });
      return 1;
    case WeightFormat::bf16_panels:
      pack_changed(row, inputs, to, [](Vec x) HWY_ATTR { return round_to_bf16_vector(x); });
      return 1;
    case WeightFormat::fp8_panels:
    case WeightFormat::int8_panels:
    case WeightFormat::int4_panels:
      break;
  }
  const bool fp8 = format == WeightFormat::fp8_panels;
  Vec highest = hn::Zero(f), not_finite = hn::Zero(f);  // NaN once an input is NaN or infinite
  each_input_block(row, inputs, [&](int, const float* from) HWY_ATTR {
    for (int i = 0; i < kInputBlock; i += kLanes) {
      const Vec x = round_to_bf16_vector(hn::LoadU(f, from + i));
      highest = hn::Max(highest, hn::Abs(x));
      not_finite = hn::MulAdd(x, hn::Zero(f), not_finite);
    }
  });
  if (const float sum = hn::GetLane(hn::SumOfLanes(f, not_finite)); sum != 0) {
    pack_changed(row, inputs, to, [](Vec) HWY_ATTR { return hn::Zero(F()); });
    return sum;
  }
  const float scale = hn::GetLane(hn::MaxOfLanes(f, highest)) / (fp8 ? 448.0f : 127.0f);
  const Vec inverse = hn::Set(f, scale > 0 ? std::min(1 / scale, std::numeric_limits<float>::max()) : 0.0f);
  pack_changed(row, inputs, to, [&](Vec x) HWY_ATTR {
    const Vec scaled = hn::Mul(round_to_bf16_vector(x), inverse);
    if (fp8) return round_to_e4m3_vector(scaled);
    return hn::Max(hn::Min(hn::Round(scaled), hn::Set(F(), 127.0f)), hn::Set(F(), -127.0f));
  });
  return scale;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(pack_inputs);

float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedInput& to) {
  return HWY_DYNAMIC_DISPATCH(pack_inputs)(row, inputs, format, to);
}

}  // namespace dvlm
#endif  // HWY_ONCE
