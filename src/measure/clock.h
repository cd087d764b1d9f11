// Timing one call, and medians of several.
#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace dvlm {

template <class Call>
double milliseconds(const Call& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The first call makes buffers grow; it counts only when it is the only one.
inline double median_behind_first(std::vector<double> values) {
  if (values.size() > 1) values.erase(values.begin());
  return median(std::move(values));
}

}  // namespace dvlm
