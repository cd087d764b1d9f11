// Linear layers in four bits as other tools pack them: AWQ, GPTQ, compressed-tensors (pack-quantized).
#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace dvlm {

// What "quantization_config" says of such layers. Which layers they are, the tensors say.
struct FourBitFormat {
  enum class Tool : uint8_t { awq, gptq, compressed_tensors };
  Tool tool = Tool::awq;
  int64_t group_size = 128;  // inputs that share a scale; -1: all of an output
  bool zero_points = true;   // in the file; without them every one is 8
  bool less_one = false;     // gptq: the file holds zero points less one
};

// None when the weights are not in four bits. Throws Error for variants that are not read. `where` begins the
// message.
std::optional<FourBitFormat> four_bit_format(const nlohmann::json& quantization, const std::string& where);

// The endings of the tensors that hold a layer, the one with the codes first.
std::span<const std::string_view> four_bit_endings(FourBitFormat::Tool tool);

// W [outputs, inputs] = scale * (code - zero point), where scale and zero point are those of the output and
// the input's group. Codes are 0 to 15, zero points 0 to 16.
class FourBitWeight {
 public:
  // Tensors of `linear`, which are mapped and outlive this. Throws Error naming the tensor that is missing,
  // misshapen or of another type, and groups out of range; `where` begins the message.
  FourBitWeight(const std::map<std::string, TensorView>& tensors, const std::string& linear,
                const FourBitFormat& format, int64_t outputs, int64_t inputs, const std::string& where);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  std::span<const TensorView> tensors() const { return tensors_; }

  // Outputs [first, first + count) as floats, [count, inputs]: exact. `first` and `count` are multiples of 8,
  // or reach the end.
  void dequantize(int64_t first, int64_t count, float* out) const;

 private:
  const TensorView& find(const std::map<std::string, TensorView>& tensors, const std::string& name,
                         DType type, const std::vector<int64_t>& shape, const std::string& where);
  void check_shape(const TensorView& shape, const std::string& where) const;
  void read_groups(const TensorView& order, const std::string& where);
  int code(int64_t output, int64_t input) const;
  int zero_point(int64_t output, int64_t group) const;
  float scale(int64_t output, int64_t group) const;

  FourBitFormat format_;
  int64_t outputs_, inputs_, groups_;
  std::vector<TensorView> tensors_;
  const std::byte *codes_ = nullptr, *zero_points_ = nullptr;
  TensorView scales_;
  std::vector<int32_t> group_of_;  // each input
};

}  // namespace dvlm
