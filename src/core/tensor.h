// A read-only view of a tensor that something else owns (a mapped file, a buffer).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"

namespace dvlm {

struct TensorView {
  DType type = DType::f32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // row-major, contiguous; not necessarily aligned to the element size

  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(type); }
};

std::string to_string(const std::vector<int64_t>& shape);  // "[2048, 256]"

// Widens elements [first, first + count) of an F32, F16, BF16, F8_E4M3 or I8 tensor to float.
void copy_to_float(const TensorView& tensor, int64_t first, int64_t count, float* out);

}  // namespace dvlm
