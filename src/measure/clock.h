// Timing calls, and medians of their times.
#pragma once
#include <algorithm>
#include <vector>

#include "core/stopwatch.h"

namespace dvlm {

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// The first call makes buffers grow; it counts only when it is the only one.
inline double median_behind_first(std::vector<double> values) {
  if (values.size() > 1) values.erase(values.begin());
  return median(std::move(values));
}

}  // namespace dvlm
