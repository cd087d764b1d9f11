// Weights of linear layers, repacked once at load into the order in which the kernels stream them.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/pages.h"

namespace dvlm {

// Panels of kPanel output columns; panel p holds outputs [p * kPanel, (p + 1) * kPanel), zero beyond the
// last.
//   f32_panels   [panels][inputs][32] float
//   bf16_panels  [panels][inputs / 2 rounded up][32] pairs: word j is output j, its low half at an even
//   input,
//                its high half at the next. Dot products take pairs as they are; for f32, one shift or one
//                mask per vector widens them.
//   fp8_panels   [panels][inputs / 2 rounded up][32] pairs of e4m3 in the order of fp8_output(), with one f32
//                scale per output
// Two formats are for drafts, whose logits decide nothing:
//   int8_panels  [panels][inputs / 4 rounded up][32] quads of signed bytes, with one f32 scale per output
//   int4_panels  [panels]: bf16 scales [groups][32], one per output and kInt4Group inputs, then four inputs
//                after the other [16] words, byte i of word j: input i of output j in its low half, of output
//                16 + j in its high half, 8 too large; zero to the end of the last group
// Further formats add a tag here, a packer in matrix.cpp and their tiles.
// Whoever changes what stands where raises kPackedLayout: files of repacked weights outlive the program.
enum class WeightFormat : uint8_t { f32_panels, bf16_panels, fp8_panels, int8_panels, int4_panels };

constexpr uint64_t kPackedLayout = 1;
constexpr int kPanel = 32;
constexpr int kInt4Group = 64;
constexpr int int4_groups(int inputs) {
  return (inputs + kInt4Group - 1) / kInt4Group;
}

// The output whose pair stands at a place of an fp8 panel: of each 8, four of the first 16 outputs, then four
// of the last. Interleaving the low (high) halves of 128-bit lanes then gives outputs 0..15 (16..31) in
// order.
constexpr int fp8_output(int place) {
  return place % 8 < 4 ? place / 8 * 4 + place % 8 : 16 + place / 8 * 4 + place % 8 - 4;
}
constexpr int fp8_place(int output) {
  return output < 16 ? output / 4 * 8 + output % 4 : (output - 16) / 4 * 8 + 4 + output % 4;
}

class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Stacks `weights` ([n_i, inputs] each, trailing dimensions flattened) into one matrix [sum n_i, inputs].
  // `biases`: one [n_i] per weight, or none. Values are rounded to the format. For fp8_panels the weights are
  // F8_E4M3 with `scales`, one [n_i] or [n_i, 1] per weight, or wider and quantised here by row (narrow.h);
  // for int8_panels and int4_panels either is quantised here.
  // Throws Error when shapes disagree and when a quantised weight is not finite.
  PackedMatrix(std::span<const TensorView> weights, std::span<const TensorView> biases, WeightFormat format,
               ThreadPool& pool, std::span<const TensorView> scales = {});

  // Storage for a matrix whose parts() come from elsewhere; zero-filled.
  PackedMatrix(int outputs, int inputs, WeightFormat format, bool with_bias);
  // All that it holds, in one order: panels, bias, scales, sums of codes; those that it has.
  std::vector<std::span<std::byte>> parts();

  const std::string& name() const { return name_; }  // of the layer, for messages and observers
  void set_name(std::string name) { name_ = std::move(name); }
  WeightFormat format() const { return format_; }
  int outputs() const { return outputs_; }
  int inputs() const { return inputs_; }
  int panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  const std::byte* data() const { return pages_.data(); }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }  // [panels * kPanel] or null
  const float* scales() const { return scales_.empty() ? nullptr : scales_.data(); }  // likewise
  const int32_t* code_sums() const { return code_sums_.data(); }  // int8: of each output, [panels * kPanel]
  size_t bytes() const { return pages_.size(); }
  size_t panel_bytes() const { return pages_.size() / static_cast<size_t>(panels()); }

  // Row `output` of the matrix, [inputs]: lets a tied head serve as the embedding table.
  void unpack_row(int output, float* row) const;

  static size_t packed_bytes(int64_t outputs, int64_t inputs, WeightFormat format);

 private:
  std::string name_;
  WeightFormat format_ = WeightFormat::f32_panels;
  int outputs_ = 0, inputs_ = 0;
  Pages pages_;
  std::vector<float> bias_, scales_;
  std::vector<int32_t> code_sums_;
};

}  // namespace dvlm
