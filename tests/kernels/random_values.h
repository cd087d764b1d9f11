// Normally distributed numbers for kernels to work on.
#pragma once
#include <vector>

#include "core/random.h"

namespace dvlm {

inline std::vector<float> random_values(size_t count, uint64_t seed, double scale = 1) {
  Random random(seed);
  std::vector<float> out(count);
  for (float& value : out) value = static_cast<float>(scale * random.normal());
  return out;
}

}  // namespace dvlm
