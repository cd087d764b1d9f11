#include "checkpoint/grouped.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "checkpoint/foreign.h"
#include "checkpoint/json.h"
#include "core/error.h"

namespace dvlm {

namespace {

using nlohmann::json;
using Tool = GroupedFormat::Tool;

constexpr int kPerWord = 8;  // codes in 32 bits
constexpr const char* kTakeAnother = "take the checkpoint in BF16 and quantize it with dvlm quantize";

// The nibble of an AWQ word that holds each of its 8 outputs.
constexpr int kAwqNibble[kPerWord] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t word_at(const std::byte* words, int64_t index) {
  uint32_t word;
  std::memcpy(&word, words + static_cast<size_t>(index) * sizeof word, sizeof word);
  return word;
}
int nibble(uint32_t word, int64_t at) {
  return static_cast<int>(word >> (4 * at) & 15);
}

int64_t words_of(int64_t codes) {
  return (codes + kPerWord - 1) / kPerWord;
}

// 1 to 2^31 - 1, or -1.
int64_t read_group_size(const JsonObject& at) {
  const int64_t size = at.integer("group_size", -1, (int64_t{1} << 31) - 1, -1);
  if (size == 0) fail("{}: \"group_size\" is 0", at.where());
  return size;
}

void check_bits(const JsonObject& at, const char* key) {
  if (const int64_t bits = at.integer(key, 1, 64, 4); bits != 4)
    fail("{}: weights of {} bits are not read, since dvlm reads packed weights of four; {}", at.where(), bits,
         kTakeAnother);
}

GroupedFormat read_awq(const JsonObject& at) {
  check_bits(at, "bits");
  if (const std::string version = at.string("version", at.string("format", "gemm"));
      version != "gemm" && version != "GEMM")
    fail("{}: the version \"{}\" of AWQ is not read; dvlm reads \"gemm\"; {}", at.where(), printable(version),
         kTakeAnother);
  // Whatever "zero_point" says: readers take what the file holds, which of symmetric weights is 8 throughout.
  return {.tool = Tool::awq, .group_size = read_group_size(at)};
}

GroupedFormat read_gptq(const JsonObject& at) {
  check_bits(at, "bits");
  const std::string format = at.string("checkpoint_format", at.string("format", "gptq"));
  if (format != "gptq" && format != "gptq_v2")
    fail("{}: the format \"{}\" is not read; dvlm reads \"gptq\" and \"gptq_v2\"; {}", at.where(),
         printable(format), kTakeAnother);
  if (const json* dynamic = at.find("dynamic"); dynamic && !dynamic->empty())
    fail("{}: layers have settings of their own (dynamic), which are not read; {}", at.where(), kTakeAnother);
  return {.tool = Tool::gptq,
          .group_size = read_group_size(at),
          .less_one = format == "gptq",
          .scattered = at.boolean("desc_act", false)};
}

GroupedFormat read_compressed_group(const JsonObject& group) {
  const JsonObject weights = group.object("weights");
  check_bits(weights, "num_bits");
  refuse_more_than_weights(group);
  if (group.has("input_activations"))
    fail("{}: activations are quantized beside weights of four bits, which is not read; {}", group.where(),
         kTakeAnother);
  const std::string type = weights.string("type", "int"), strategy = weights.string("strategy", "group");
  if (type != "int" || (strategy != "group" && strategy != "channel"))
    fail("{}: weights of type \"{}\" with the strategy \"{}\" are not read; {}", weights.where(),
         printable(type), printable(strategy), kTakeAnother);
  return {.tool = Tool::compressed_tensors,
          .group_size = strategy == "group" ? read_group_size(weights) : -1,
          .zero_points = !weights.boolean("symmetric", true)};
}

// All groups must agree: layers are told apart by their tensors alone.
GroupedFormat read_compressed(const JsonObject& at) {
  refuse_more_than_weights(at);
  const JsonObject groups = at.object("config_groups");
  std::optional<GroupedFormat> first;
  for (const auto& [name, value] : at.find("config_groups")->items()) {
    const GroupedFormat format =
        read_compressed_group(JsonObject(value, groups.where() + "." + printable(name)));
    if (first && (format.group_size != first->group_size || format.zero_points != first->zero_points))
      fail("{}: groups of layers that are packed in different ways are not read; {}", groups.where(),
           kTakeAnother);
    first = format;
  }
  if (!first) fail("{}: no group of layers is described", groups.where());
  return *first;
}

GroupedFormat read_fp8_blocks(const JsonObject& at) {
  const std::vector<int64_t> size = at.integers("weight_block_size", 1, (int64_t{1} << 31) - 1, 2);
  if (size.size() != 2) fail("{}: \"weight_block_size\" must be two numbers", at.where());
  if (at.string("activation_scheme", "dynamic") != "dynamic")
    fail("{}: activations have static scales (input_scale), which are not read; {}", at.where(),
         kTakeAnother);
  return {.tool = Tool::fp8_blocks, .group_size = size[1], .outputs_in_one = size[0], .zero_points = false};
}

struct Endings {
  std::string_view codes, scales, zero_points, order;
};
constexpr Endings kAwqAndGptqEndings = {".qweight", ".scales", ".qzeros", ".g_idx"};
constexpr Endings kCompressedEndings = {".weight_packed", ".weight_scale", ".weight_zero_point",
                                        ".weight_g_idx"};
constexpr Endings kFp8BlockEndings = {".weight", ".weight_scale_inv", "", ""};
constexpr std::string_view kShape = ".weight_shape";

const Endings& endings_of(Tool tool) {
  if (tool == Tool::fp8_blocks) return kFp8BlockEndings;
  return tool == Tool::compressed_tensors ? kCompressedEndings : kAwqAndGptqEndings;
}

}  // namespace

std::optional<GroupedFormat> grouped_format(const json& quantization, const std::string& where) {
  const JsonObject at(quantization, where);
  const std::string method = at.string("quant_method", at.has("config_groups") ? "compressed-tensors" : "");
  if (method == "awq") return read_awq(at);
  if (method == "gptq") return read_gptq(at);
  if (method == "fp8" && at.has("weight_block_size")) return read_fp8_blocks(at);
  if (method == "compressed-tensors" && at.string("format", "") == "pack-quantized")
    return read_compressed(at);
  return {};
}

std::span<const std::string_view> grouped_endings(Tool tool) {
  static constexpr std::array kOfAwq = {kAwqAndGptqEndings.codes, kAwqAndGptqEndings.scales,
                                        kAwqAndGptqEndings.zero_points};
  static constexpr std::array kOfGptq = {kAwqAndGptqEndings.codes, kAwqAndGptqEndings.scales,
                                         kAwqAndGptqEndings.zero_points, kAwqAndGptqEndings.order};
  static constexpr std::array kOfCompressed = {kCompressedEndings.codes, kCompressedEndings.scales,
                                               kCompressedEndings.zero_points, kCompressedEndings.order,
                                               kShape};
  static constexpr std::array kOfFp8Blocks = {kFp8BlockEndings.scales};
  if (tool == Tool::fp8_blocks) return kOfFp8Blocks;
  if (tool == Tool::awq) return kOfAwq;
  if (tool == Tool::gptq) return kOfGptq;
  return kOfCompressed;
}

namespace {

struct Shapes {
  std::vector<int64_t> codes, scales, zero_points;
};

Shapes shapes_of(const GroupedFormat& format, int64_t outputs, int64_t inputs, int64_t groups) {
  switch (format.tool) {
    case Tool::awq:
      return {{inputs, outputs / kPerWord}, {groups, outputs}, {groups, outputs / kPerWord}};
    case Tool::gptq:
      return {{words_of(inputs), outputs}, {groups, outputs}, {groups, outputs / kPerWord}};
    case Tool::compressed_tensors:
      return {{outputs, words_of(inputs)}, {outputs, groups}, {words_of(outputs), groups}};
    case Tool::fp8_blocks:
      return {{outputs, inputs}, {(outputs + format.outputs_in_one - 1) / format.outputs_in_one, groups}, {}};
  }
  return {};
}

}  // namespace

GroupedWeight::GroupedWeight(const std::map<std::string, TensorView>& tensors, const std::string& linear,
                             const GroupedFormat& format, int64_t outputs, int64_t inputs,
                             const std::string& where)
    : format_(format), outputs_(outputs), inputs_(inputs) {
  const Tool tool = format.tool;
  const int64_t group = format.group_size < 0 ? inputs : format.group_size;
  groups_ = (inputs + group - 1) / group;
  for (int64_t k = 0; k < inputs; ++k) group_of_.push_back(static_cast<int32_t>(k / group));
  if ((tool == Tool::awq || tool == Tool::gptq) && outputs % kPerWord != 0)
    fail("{}: {} has {} outputs, but they are packed in eights", where, linear, outputs);
  const Shapes shapes = shapes_of(format, outputs, inputs, groups_);
  const auto [codes, scales, zero_points, order] = endings_of(tool);
  const auto held = [&](std::string_view ending) {
    return !ending.empty() && tensors.count(linear + std::string(ending));
  };
  const auto get = [&](std::string_view ending, DType type,
                       const std::vector<int64_t>& shape) -> const TensorView& {
    return find(tensors, linear + std::string(ending), type, shape, where);
  };
  codes_ = get(codes, tool == Tool::fp8_blocks ? DType::f8_e4m3 : DType::i32, shapes.codes).data;
  scales_ = get(scales, DType::f16, shapes.scales);
  if (format.zero_points)
    zero_points_ = get(zero_points, DType::i32, shapes.zero_points).data;
  else if (held(zero_points))
    fail("{}: tensor {}{} is there, but \"quantization_config\" says that there are no zero points", where,
         linear, zero_points);
  if (tool == Tool::compressed_tensors && held(kShape))
    check_shape(tensors.at(linear + std::string(kShape)),
                fmt::format("{}: tensor {}{}", where, linear, kShape));
  if (held(order))
    read_groups(get(order, DType::i32, {inputs}), fmt::format("{}: tensor {}{}", where, linear, order));
  else if (format.scattered)
    fail("{}: tensor {}{} is missing, though groups are scattered (desc_act)", where, linear, order);
}

const TensorView& GroupedWeight::find(const std::map<std::string, TensorView>& tensors,
                                      const std::string& name, DType type, const std::vector<int64_t>& shape,
                                      const std::string& where) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail("{}: tensor {} is missing", where, name);
  const TensorView& tensor = found->second;
  const bool right_type = type == DType::f16 ? is_number(tensor.type) : tensor.type == type;
  if (!right_type || tensor.shape != shape)
    fail("{}: tensor {} is {} {}, expected {} {}", where, name, name_of(tensor.type), to_string(tensor.shape),
         type == DType::f16 ? "F16, BF16 or F32" : name_of(type), to_string(shape));
  return tensors_.emplace_back(tensor);
}

void GroupedWeight::check_shape(const TensorView& shape, const std::string& where) const {
  int64_t said[2] = {};
  if (shape.type == DType::i64 && shape.shape == std::vector<int64_t>{2})
    std::memcpy(said, shape.data, sizeof said);
  if (said[0] != outputs_ || said[1] != inputs_)
    fail("{}: expected I64 [2] that say {} and {}", where, outputs_, inputs_);
}

void GroupedWeight::read_groups(const TensorView& order, const std::string& where) {
  for (size_t k = 0; k < group_of_.size(); ++k) {
    const auto group = static_cast<int32_t>(word_at(order.data, static_cast<int64_t>(k)));
    if (group < 0 || group >= groups_)
      fail("{}: input {} is in group {} of {}; the file is damaged", where, k, group, groups_);
    group_of_[k] = group;
  }
  if (std::ranges::is_sorted(group_of_)) return;
  input_order_.resize(group_of_.size());
  std::iota(input_order_.begin(), input_order_.end(), 0);
  std::ranges::stable_sort(input_order_, {},
                           [&](int32_t input) { return group_of_[static_cast<size_t>(input)]; });
}

float GroupedWeight::code(int64_t output, int64_t input) const {
  if (format_.tool == Tool::fp8_blocks)
    return to_float(e4m3{static_cast<uint8_t>(codes_[output * inputs_ + input])});
  return static_cast<float>(nibble_of(output, input));
}

int GroupedWeight::nibble_of(int64_t output, int64_t input) const {
  if (format_.tool == Tool::awq)
    return nibble(word_at(codes_, input * (outputs_ / kPerWord) + output / kPerWord),
                  kAwqNibble[output % kPerWord]);
  if (format_.tool == Tool::gptq)
    return nibble(word_at(codes_, input / kPerWord * outputs_ + output), input % kPerWord);
  return nibble(word_at(codes_, output * words_of(inputs_) + input / kPerWord), input % kPerWord);
}

int GroupedWeight::zero_point(int64_t output, int64_t group) const {
  if (!zero_points_) return format_.tool == Tool::fp8_blocks ? 0 : 8;
  if (format_.tool == Tool::awq)
    return nibble(word_at(zero_points_, group * (outputs_ / kPerWord) + output / kPerWord),
                  kAwqNibble[output % kPerWord]);
  if (format_.tool == Tool::gptq) {
    const uint32_t word = word_at(zero_points_, group * (outputs_ / kPerWord) + output / kPerWord);
    // Writers take one from every zero point at once, and so does a zero borrow from its neighbour.
    return nibble(word + (format_.less_one ? 0x11111111u : 0u), output % kPerWord);
  }
  return nibble(word_at(zero_points_, output / kPerWord * groups_ + group), output % kPerWord);
}

float GroupedWeight::scale(int64_t output, int64_t group) const {
  const bool by_group = format_.tool == Tool::awq || format_.tool == Tool::gptq;
  const int64_t at = by_group ? group * outputs_ + output : output / format_.outputs_in_one * groups_ + group;
  float value;
  copy_to_float(scales_, at, 1, &value);
  return value;
}

void GroupedWeight::dequantize(int64_t first, int64_t count, float* out) const {
  DVLM_ASSERT(first >= 0 && count >= 0 && first + count <= outputs_);
  constexpr int64_t kOutputs = 8;  // at a time: AWQ and GPTQ hold outputs side by side
  std::vector<float> scales(static_cast<size_t>(kOutputs * groups_));
  std::vector<float> zero_points(scales.size());
  for (int64_t n = 0; n < count; n += kOutputs) {
    const int64_t here = std::min(kOutputs, count - n);
    for (int64_t i = 0; i < here; ++i) {
      for (int64_t g = 0; g < groups_; ++g) {
        scales[static_cast<size_t>(g * kOutputs + i)] = scale(first + n + i, g);
        zero_points[static_cast<size_t>(g * kOutputs + i)] = static_cast<float>(zero_point(first + n + i, g));
      }
    }
    for (int64_t k = 0; k < inputs_; ++k) {
      const auto group = static_cast<size_t>(group_of_[static_cast<size_t>(k)] * kOutputs);
      for (int64_t i = 0; i < here; ++i) {
        const auto at = group + static_cast<size_t>(i);
        out[(n + i) * inputs_ + k] = (code(first + n + i, k) - zero_points[at]) * scales[at];
      }
    }
  }
}

std::string GroupedWeight::problem_of_groups(int64_t group) const {
  DVLM_ASSERT(is_four_bits() && group > 0);
  for (int64_t k = 0; k < inputs_; ++k) {
    if (group_at(k) != group_at(k / group * group))
      return fmt::format("inputs {} and {} have scales of their own", input_at(k / group * group),
                         input_at(k));
  }
  return scales_.type == DType::f32 ? "its scales are F32" : "";
}

void GroupedWeight::read_codes(int64_t first, int64_t count, int64_t group, uint8_t* codes, float* scales,
                               uint8_t* zero_points) const {
  DVLM_ASSERT(first >= 0 && count >= 0 && first + count <= outputs_);
  const int64_t groups = (inputs_ + group - 1) / group;
  for (int64_t n = 0; n < count; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t from = group_at(g * group);
      scales[n * groups + g] = scale(first + n, from);
      zero_points[n * groups + g] = static_cast<uint8_t>(zero_point(first + n, from));
    }
  }
  // Inputs outside: AWQ and GPTQ hold outputs side by side.
  for (int64_t k = 0; k < inputs_; ++k)
    for (int64_t n = 0; n < count; ++n)
      codes[n * inputs_ + k] = static_cast<uint8_t>(nibble_of(first + n, input_at(k)));
}

}  // namespace dvlm
