#include "kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dvlm {

namespace {

float max_magnitude(std::span<const float> row, float least) {
  for (float value : row) least = std::max(least, std::abs(value));
  return least;
}

// Rounds to nearest even; right for magnitudes below 2^22.
float rounded(float x) {
  constexpr float kShift = 0x1.8p23f;
  return x + kShift - kShift;
}

}  // namespace

float quantize_e4m3(std::span<const float> row, e4m3* codes) {
  const float scale = max_magnitude(row, 1e-10f) / 448.0f;
  for (size_t i = 0; i < row.size(); ++i) codes[i] = to_e4m3(row[i] / scale);
  return scale;
}

float quantize_int8(std::span<const float> row, int8_t* codes) {
  // Below the normal numbers a scale has too few bits, or none: such a row is zero.
  constexpr float kLeast = 127 * std::numeric_limits<float>::min();
  const float highest = max_magnitude(row, 0), scale = highest >= kLeast ? highest / 127.0f : 1;
  for (size_t i = 0; i < row.size(); ++i) codes[i] = static_cast<int8_t>(rounded(row[i] / scale));
  return scale;
}

float int4_scale(std::span<const float> group) {
  float highest = 0;
  for (float value : group) {
    if (std::abs(value) > std::abs(highest)) highest = value;
  }
  return highest / -8;
}

void quantize_int4(std::span<const float> group, float scale, uint8_t* codes) {
  if (scale == 0) {
    std::fill_n(codes, group.size(), uint8_t{8});
    return;
  }
  for (size_t i = 0; i < group.size(); ++i)
    codes[i] = static_cast<uint8_t>(std::clamp(8 + rounded(group[i] / scale), 0.0f, 15.0f));
}

float halve_scales(std::span<const float> scales, f16* out) {
  float highest = 0;
  bool exact = true;
  for (const float scale : scales) {
    if (!std::isfinite(scale)) return NAN;
    highest = std::max(highest, std::abs(scale));
    exact = exact && to_float(to_f16(scale)) == scale;
  }
  constexpr int kHighest = 14, kLeast = -126;  // exponents, of f16 and f32
  const int exponent = exact ? 0 : std::max(std::ilogb(highest) - kHighest, kLeast);
  for (size_t i = 0; i < scales.size(); ++i) out[i] = to_f16(std::ldexp(scales[i], -exponent));
  return std::ldexp(1.0f, exponent);
}

}  // namespace dvlm
