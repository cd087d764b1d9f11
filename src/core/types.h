// Number types of checkpoints and kernels, and their conversions to and from float.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dvlm {

using TokenId = int32_t;

struct bf16 {
  uint16_t bits = 0;
};
struct f16 {
  uint16_t bits = 0;
};
struct e4m3 {  // float8_e4m3fn: no infinities, NaN = 0x7F and 0xFF
  uint8_t bits = 0;
};

inline float to_float(bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

inline float round_to_bf16(float value) {
  return to_float(to_bf16(value));
}

inline float to_float(f16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1Fu, mantissa = value.bits & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0)
    return std::copysign(std::ldexp(static_cast<float>(mantissa), -24), std::bit_cast<float>(sign));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Round to nearest even; beyond 65504 infinite; NaN stays NaN.
inline f16 to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = (bits >> 16) & 0x8000u,
                 magnitude = bits & 0x7FFFFFFFu;
  const auto with_sign = [sign](uint32_t rest) { return f16{static_cast<uint16_t>(sign | rest)}; };
  if (magnitude > 0x7F800000u) return with_sign(0x7E00u);
  if (magnitude >= 0x477FF000u) return with_sign(0x7C00u);  // 65520: half way to what comes next
  // Below the least normal number steps are 2^-24: adding one half leaves just those bits.
  if (magnitude < 0x38800000u)
    return with_sign(std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u);
  return with_sign(((magnitude + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13) - (112u << 10));
}

inline float to_float(e4m3 value) {
  // Read with a float's exponent bias of 127 instead of 7, and multiplied by the difference: also right for
  // subnormals, and without a branch, for whole files pass through here.
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x80u) << 24, magnitude = value.bits & 0x7Fu;
  const float number = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  const uint32_t bits = magnitude == 0x7F ? 0x7FC00000u : std::bit_cast<uint32_t>(number);
  return std::bit_cast<float>(bits | sign);
}

// Clamped to +-448, then rounded to nearest even; NaN stays NaN.
inline e4m3 to_e4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = (bits >> 24) & 0x80u;
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint8_t>(sign | 0x7Fu)};
  const float magnitude = std::fmin(std::fabs(value), 448.0f);
  // Below the least normal number steps are 2^-9: adding 1.5 * 2^14 leaves just those bits.
  if (magnitude < 0x1p-6f) {
    return {static_cast<uint8_t>(sign | static_cast<uint32_t>(((magnitude + 0x1.8p14f) - 0x1.8p14f) * 512))};
  }
  const uint32_t wide = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = (wide + 0x7FFFFu + ((wide >> 20) & 1u)) >> 20;  // exponent and three bits
  return {static_cast<uint8_t>(sign | (rounded - (120u << 3)))};
}

enum class DType : uint8_t { f32, f16, bf16, f8_e4m3, i64, i32, u8, boolean, i8 };

constexpr size_t size_of(DType type) {
  constexpr size_t kSizes[] = {4, 2, 2, 1, 8, 4, 1, 1, 1};
  return kSizes[static_cast<size_t>(type)];
}
constexpr std::string_view name_of(DType type) {  // the safetensors spelling
  constexpr std::string_view kNames[] = {"F32", "F16", "BF16", "F8_E4M3", "I64", "I32", "U8", "BOOL", "I8"};
  return kNames[static_cast<size_t>(type)];
}
constexpr bool is_number(DType type) {  // and no code of one, or an index
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

}  // namespace dvlm
