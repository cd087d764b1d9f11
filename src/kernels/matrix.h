// Weights of linear layers, repacked once at load into the order in which the kernels stream them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/pages.h"

namespace dvlm {

// Panels of kPanel output columns; panel p holds outputs [p * kPanel, (p + 1) * kPanel), zero beyond the
// last.
//   f32_panels   [panels][inputs][32] float
//   bf16_panels  [panels][inputs][16] pairs: the low half of word j is output j, the high half output j + 16,
//   so that
//                widening to f32 takes one shift or one mask per vector, whatever the vector's length
// Further formats (AMX tiles, FP8) add a tag here, a packer in matrix.cpp and a branch in linear().
enum class WeightFormat : uint8_t { f32_panels, bf16_panels };

constexpr int kPanel = 32;

class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Stacks `weights` ([n_i, inputs] each, trailing dimensions flattened) into one matrix [sum n_i, inputs].
  // `biases`: one [n_i] per weight, or none. Values are rounded to the format. Throws Error when shapes
  // disagree.
  PackedMatrix(std::span<const TensorView> weights, std::span<const TensorView> biases, WeightFormat format,
               ThreadPool& pool);

  WeightFormat format() const { return format_; }
  int outputs() const { return outputs_; }
  int inputs() const { return inputs_; }
  int panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  const std::byte* data() const { return pages_.data(); }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }  // [panels * kPanel] or null
  size_t bytes() const { return pages_.size(); }

  // Row `output` of the matrix, [inputs]: lets a tied head serve as the embedding table.
  void unpack_row(int output, float* row) const;

  static size_t packed_bytes(int64_t outputs, int64_t inputs, WeightFormat format);

 private:
  WeightFormat format_ = WeightFormat::f32_panels;
  int outputs_ = 0, inputs_ = 0;
  Pages pages_;
  std::vector<float> bias_;
};

}  // namespace dvlm
