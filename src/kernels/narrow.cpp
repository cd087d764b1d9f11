#include "kernels/narrow.h"

#include <algorithm>
#include <cmath>

namespace dvlm {

namespace {

float max_magnitude(std::span<const float> row, float least) {
  for (float value : row) least = std::max(least, std::abs(value));
  return least;
}

}  // namespace

float quantize_e4m3(std::span<const float> row, e4m3* codes) {
  const float scale = max_magnitude(row, 1e-10f) / 448.0f;
  for (size_t i = 0; i < row.size(); ++i) codes[i] = to_e4m3(row[i] / scale);
  return scale;
}

float quantize_int8(std::span<const float> row, int8_t* codes) {
  const float highest = max_magnitude(row, 0), scale = highest > 0 ? highest / 127.0f : 1;
  for (size_t i = 0; i < row.size(); ++i) codes[i] = static_cast<int8_t>(std::nearbyint(row[i] / scale));
  return scale;
}

}  // namespace dvlm
