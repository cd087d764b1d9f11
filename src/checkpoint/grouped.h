// Linear layers whose weights have a scale for every group of inputs, as other tools write them: four bits by
// AWQ, GPTQ and compressed-tensors (pack-quantized), FP8 in blocks.
#pragma once
#include <algorithm>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace dvlm {

// What "quantization_config" says of such layers. Which layers they are, the tensors say.
struct GroupedFormat {
  enum class Tool : uint8_t { awq, gptq, compressed_tensors, fp8_blocks };
  Tool tool = Tool::awq;
  int64_t group_size = 128;    // inputs that share a scale; -1: all of an output
  int64_t outputs_in_one = 1;  // fp8_blocks: outputs that share a scale
  bool zero_points = true;     // in the file; without them every one is 8
  bool less_one = false;       // gptq: the file holds words of zero points less 0x11111111
  bool scattered = false;      // gptq: the inputs of a group stand anywhere ("act order")
};

// None when the weights have no groups. Throws Error for variants that are not read. `where` begins the
// message.
std::optional<GroupedFormat> grouped_format(const nlohmann::json& quantization, const std::string& where);

// The endings of the tensors that such a layer has beside what any has; the first is always there.
std::span<const std::string_view> grouped_endings(GroupedFormat::Tool tool);

// W [outputs, inputs] = scale * (code - zero point), where scale and zero point are those of the output and
// the input's group. Four-bit codes and zero points are 0 to 15; e4m3's have no zero point.
class GroupedWeight {
 public:
  // Tensors of `linear`, which are mapped and outlive this. Throws Error naming the tensor that is missing,
  // misshapen or of another type, and groups out of range; `where` begins the message.
  GroupedWeight(const std::map<std::string, TensorView>& tensors, const std::string& linear,
                const GroupedFormat& format, int64_t outputs, int64_t inputs, const std::string& where);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  bool is_four_bits() const { return format_.tool != GroupedFormat::Tool::fp8_blocks; }
  std::span<const TensorView> tensors() const { return tensors_; }

  // Outputs [first, first + count) as floats, [count, inputs]: exact for four bits, rounded once for e4m3.
  void dequantize(int64_t first, int64_t count, float* out) const;

  // Which input stands in each place, [inputs], when groups stand one behind another; empty where they do as
  // they are. Only GPTQ's "act order" scatters them.
  std::span<const int32_t> input_order() const { return input_order_; }
  // Why the codes, in these places, do not stand in groups of `group` inputs, each with one scale of 16 bits
  // ("inputs 0 and 32 have scales of their own"); "" when they do.
  std::string problem_of_groups(int64_t group) const;
  // Then those of outputs [first, first + count) in these places: codes [count, inputs], and scales and zero
  // points [count, inputs / group, rounded up].
  void read_codes(int64_t first, int64_t count, int64_t group, uint8_t* codes, float* scales,
                  uint8_t* zero_points) const;

 private:
  const TensorView& find(const std::map<std::string, TensorView>& tensors, const std::string& name,
                         DType type, const std::vector<int64_t>& shape, const std::string& where);
  void check_shape(const TensorView& shape, const std::string& where) const;
  void read_groups(const TensorView& order, const std::string& where);
  float code(int64_t output, int64_t input) const;
  int nibble_of(int64_t output, int64_t input) const;
  int zero_point(int64_t output, int64_t group) const;
  int64_t input_at(int64_t place) const {
    return input_order_.empty() ? place : input_order_[static_cast<size_t>(place)];
  }
  int32_t group_at(int64_t place) const { return group_of_[static_cast<size_t>(input_at(place))]; }
  float scale(int64_t output, int64_t group) const;

  GroupedFormat format_;
  int64_t outputs_, inputs_, groups_;
  std::vector<TensorView> tensors_;
  const std::byte *codes_ = nullptr, *zero_points_ = nullptr;
  TensorView scales_;
  std::vector<int32_t> group_of_;  // each input
  std::vector<int32_t> input_order_;
};

// Calls use(first, count) for all outputs of a layer, on all threads.
template <class Use>
void each_outputs(const GroupedWeight& weight, ThreadPool& pool, const Use& use) {
  constexpr int64_t kOutputs = 8;  // that AWQ and GPTQ hold side by side
  pool.parallel_for((weight.outputs() + kOutputs - 1) / kOutputs, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kOutputs, last = std::min(end * kOutputs, weight.outputs());
    use(first, last - first);
  });
}

}  // namespace dvlm
