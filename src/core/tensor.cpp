#include "core/tensor.h"

#include <fmt/ranges.h>

#include <cstring>

#include "core/error.h"

namespace dvlm {

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string to_string(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

namespace {

template <class T>
void widen(const std::byte* data, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    out[i] = to_float(value);
  }
}

}  // namespace

void copy_to_float(const TensorView& tensor, int64_t first, int64_t count, float* out) {
  DVLM_ASSERT(first >= 0 && count >= 0 && first + count <= tensor.elements());
  const std::byte* data = tensor.data + static_cast<size_t>(first) * size_of(tensor.type);
  switch (tensor.type) {
    case DType::f32:
      std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::f16:
      return widen<f16>(data, count, out);
    case DType::bf16:
      return widen<bf16>(data, count, out);
    case DType::f8_e4m3:
      return widen<e4m3>(data, count, out);
    case DType::i8:
      std::copy_n(reinterpret_cast<const int8_t*>(data), count, out);
      return;
    default:
      fail("a {} tensor cannot be read as numbers of a model; expected F32, F16, BF16, F8_E4M3 or I8",
           name_of(tensor.type));
  }
}

}  // namespace dvlm
