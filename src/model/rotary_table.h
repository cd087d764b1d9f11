// Cosines and sines of the rotary embedding, one row per token, shared by all layers of a tower.
#pragma once
#include <vector>

#include "core/memory.h"
#include "model/model.h"

namespace dvlm {

class RotaryTable {
 public:
  // Dimension i of a head (i < half) turns by axes[i] (0: t, 1: h, 2: w) of its position *
  // theta^(-exponents[i]).
  RotaryTable(double theta, std::vector<float> exponents, std::vector<int> axes);

  void reserve(int rows);
  void set(int row, const Position& position);

  const float* cos(int row) const { return cos_.data() + static_cast<size_t>(row) * frequencies_.size(); }
  const float* sin(int row) const { return sin_.data() + static_cast<size_t>(row) * frequencies_.size(); }

 private:
  std::vector<float> frequencies_;
  std::vector<int> axes_;
  Buffer<float> cos_, sin_;
};

// Sections of the half head turn by time, height and width in turn (docs/reference.md, M-RoPE).
RotaryTable text_rotary(double theta, int head_dim, const std::vector<int>& sections);

// The vision tower's 2-D rotary (docs/reference.md, Vision rotary): the first quarter of a head turns by row,
// the second by column.
RotaryTable vision_rotary(int head_dim);

}  // namespace dvlm
