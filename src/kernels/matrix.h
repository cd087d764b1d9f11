// Weights of linear layers, repacked once at load into the order in which the kernels stream them.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/mapped_memory.h"

namespace dvlm {

// Panels of kPanel outputs: panel p holds outputs [32 p, 32 p + 32), zero beyond the last. A panel has one
// line after the other, for one to four inputs each. With w(n, k) the weight of output n of the panel for
// input k, a line that begins with input k is
//
//   f32_panels   | w(0, k) | w(1, k) | ... | w(31, k) |                                          128 bytes
//   bf16_panels  | w(0, k), w(0, k + 1) | w(1, k), w(1, k + 1) | ... | w(31, k), w(31, k + 1) |  128
//   fp8_panels   the same in e4m3, but in the order of fp8_output()                               64
//   int8_panels  | w(0, k), .., w(0, k + 3) | ... | w(31, k), .., w(31, k + 3) |                 128
//   int4_panels  | w(0, k) + 16 w(16, k), .., w(0, k + 3) + 16 w(16, k + 3) | ... | w(15, ..) |   64
//
// The last line of pairs or quads has zeros beyond the last input. fp8, int8 and int4 have an f32 scale per
// output. An int4 panel begins with a head: scales of groups of kInt4Group inputs, [groups][32] f16; then
// their zero points, [groups][16], z(n) + 16 z(n + 16) a byte; then zeros to a whole line. Its codes go to
// the end of the last group, where those beyond the last input meet zeros.
// A further format adds a tag here, a packer in matrix.cpp and its tiles. A change of what stands where
// raises kPackedLayout: files of repacked weights outlive the program.
enum class WeightFormat : uint8_t { f32_panels, bf16_panels, fp8_panels, int8_panels, int4_panels };
constexpr int kWeightFormats = 5;

constexpr uint64_t kPackedLayout = 2;
constexpr int kPanel = 32;
constexpr int kInt4Group = 64;
constexpr int int4_groups(int inputs) {
  return (inputs + kInt4Group - 1) / kInt4Group;
}
constexpr size_t int4_scale_bytes(int inputs) {  // before the zero points of a panel
  return static_cast<size_t>(int4_groups(inputs)) * kPanel * sizeof(f16);
}
constexpr size_t int4_head_bytes(int inputs) {  // before its words
  constexpr size_t kLine = 64;
  const size_t zero_points = static_cast<size_t>(int4_groups(inputs)) * kPanel / 2;
  return int4_scale_bytes(inputs) + (zero_points + kLine - 1) / kLine * kLine;
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
  // `biases`: one [n_i] per weight, or none. Values are rounded to the format. Codes (F8_E4M3 and I8) come
  // with `scales`, one [n_i] or [n_i, 1] per weight; fp8_panels and int8_panels hold their own codes as they
  // are, and what else there is quantised by row (quantize_rows.h), as int4_panels does. U8 are codes of four
  // bits, 0 to 15, for int4_panels alone, with scales and U8 `zero_points` [n_i, int4_groups(inputs)] each.
  // Throws Error when shapes disagree and when a quantised weight is not finite.
  PackedMatrix(std::span<const TensorView> weights, std::span<const TensorView> biases, WeightFormat format,
               ThreadPool& pool, std::span<const TensorView> scales = {},
               std::span<const TensorView> zero_points = {});

  // Storage for a matrix whose parts() come from elsewhere; zero-filled.
  PackedMatrix(int outputs, int inputs, WeightFormat format, bool with_bias);
  // All that it holds, in one order: panels, bias, scales, sums of codes; those that it has.
  std::vector<std::span<std::byte>> parts();

  const std::string& name() const { return name_; }  // of the layer, for messages and observers
  void set_name(std::string name) { name_ = std::move(name); }
  // Which input of a row the matrix has in each place, [inputs()]: a permutation, or empty for all in order.
  std::span<const int32_t> input_order() const { return input_order_; }
  void set_input_order(std::span<const int32_t> order);
  WeightFormat format() const { return format_; }
  int outputs() const { return outputs_; }
  int inputs() const { return inputs_; }
  int panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  const std::byte* data() const { return memory_.data(); }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }  // [panels * kPanel] or null
  const float* scales() const { return scales_.empty() ? nullptr : scales_.data(); }  // likewise
  const int32_t* code_sums() const { return code_sums_.data(); }  // int8: of each output, [panels * kPanel]
  size_t bytes() const { return memory_.size(); }
  size_t panel_bytes() const { return memory_.size() / static_cast<size_t>(panels()); }

  // Row `output` of the matrix, [inputs]: lets a tied head serve as the embedding table.
  void unpack_row(int output, float* row) const;

  static size_t packed_bytes(int64_t outputs, int64_t inputs, WeightFormat format);

 private:
  void set_biases(std::span<const TensorView> weights, std::span<const TensorView> biases);
  std::string name_;
  WeightFormat format_ = WeightFormat::f32_panels;
  int outputs_ = 0, inputs_ = 0;
  MappedMemory memory_;
  std::vector<float> bias_, scales_;
  std::vector<int32_t> code_sums_, input_order_;
};

}  // namespace dvlm
