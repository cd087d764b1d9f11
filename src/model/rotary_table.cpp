#include "model/rotary_table.h"

#include <cmath>

#include "core/error.h"

namespace dvlm {

RotaryTable::RotaryTable(double theta, std::vector<float> exponents, std::vector<int> axes)
    : frequencies_(std::move(exponents)), axes_(std::move(axes)) {
  DVLM_ASSERT(frequencies_.size() == axes_.size());
  // In f32 step by step, as PyTorch does it: a last-bit difference grows with the position.
  for (float& exponent : frequencies_) exponent = 1.0f / std::pow(static_cast<float>(theta), exponent);
}

void RotaryTable::reserve(int rows) {
  const size_t size = static_cast<size_t>(rows) * frequencies_.size();
  if (cos_.size() >= size) return;
  cos_ = Buffer<float>(size);
  sin_ = Buffer<float>(size);
}

void RotaryTable::set(int row, const Position& position) {
  const int along[] = {position.t, position.h, position.w};
  const size_t half = frequencies_.size(), at = static_cast<size_t>(row) * half;
  for (size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(along[axes_[i]]) * frequencies_[i];
    cos_[at + i] = std::cos(angle);
    sin_[at + i] = std::sin(angle);
  }
}

RotaryTable text_rotary(double theta, int head_dim, const std::vector<int>& sections) {
  std::vector<float> exponents;
  std::vector<int> axes;
  for (size_t s = 0; s < sections.size(); ++s) {
    for (int i = 0; i < sections[s]; ++i) {
      exponents.push_back(static_cast<float>(2 * exponents.size()) / static_cast<float>(head_dim));
      axes.push_back(static_cast<int>(s % 3));
    }
  }
  return RotaryTable(theta, std::move(exponents), std::move(axes));
}

RotaryTable vision_rotary(int head_dim) {
  std::vector<float> exponents;
  std::vector<int> axes;
  const int half = head_dim / 2;
  for (int axis = 1; axis <= 2; ++axis) {
    for (int i = 0; i < head_dim / 4; ++i) {
      exponents.push_back(static_cast<float>(2 * i) / static_cast<float>(half));
      axes.push_back(axis);
    }
  }
  return RotaryTable(10000.0, std::move(exponents), std::move(axes));
}

}  // namespace dvlm
