#include "kernels/fp8.h"

#include <algorithm>
#include <cmath>

namespace dvlm {

float quantize_row(std::span<const float> row, e4m3* codes) {
  float highest = 1e-10f;
  for (float value : row) highest = std::max(highest, std::abs(value));
  const float scale = highest / 448.0f;
  for (size_t i = 0; i < row.size(); ++i) codes[i] = to_e4m3(row[i] / scale);
  return scale;
}

}  // namespace dvlm
