#include "quantize/rounding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "kernels/quantize_rows.h"

namespace dvlm {

namespace {

using Tensor = RoundedLayer::Tensor;

template <class T>
Tensor tensor_of(std::string_view ending, DType type, std::vector<int64_t> shape,
                 const std::vector<T>& values) {
  Tensor out{ending, type, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(out.bytes.data(), values.data(), out.bytes.size());
  return out;
}

TensorView view_of(const Tensor& tensor) {
  return {tensor.type, tensor.shape, tensor.bytes.data()};
}

RoundedLayer round_to_eight_bits(std::span<const float> weights, int64_t inputs, Codes codes,
                                 ThreadPool& pool) {
  const int64_t outputs = std::ssize(weights) / inputs;
  const bool fp8 = codes == Codes::fp8;
  std::vector<std::byte> bytes(weights.size());
  std::vector<float> scales(static_cast<size_t>(outputs));
  pool.parallel_for(outputs, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto row = weights.subspan(static_cast<size_t>(n * inputs), static_cast<size_t>(inputs));
      std::byte* to = bytes.data() + n * inputs;
      scales[static_cast<size_t>(n)] = fp8 ? quantize_e4m3(row, reinterpret_cast<e4m3*>(to))
                                           : quantize_int8(row, reinterpret_cast<int8_t*>(to));
    }
  });
  RoundedLayer out;
  out.tensors = {{".weight", fp8 ? DType::f8_e4m3 : DType::i8, {outputs, inputs}, std::move(bytes)},
                 tensor_of(".weight_scale", DType::f32, {outputs, 1}, scales)};
  const TensorView weight = view_of(out.tensors[0]), scale = view_of(out.tensors[1]);
  out.matrix = PackedMatrix({&weight, 1}, {}, kind_of(codes).format, pool, {&scale, 1});
  return out;
}

// Codes and their groups, [outputs, inputs] and [outputs, groups].
struct Int4Layer {
  int64_t outputs, inputs, group, groups;
  std::vector<uint8_t> codes;
  std::vector<bf16> scales;

  Int4Layer(int64_t outputs_of, int64_t inputs_of, int64_t group_size)
      : outputs(outputs_of),
        inputs(inputs_of),
        group(group_size),
        groups((inputs + group - 1) / group),
        codes(static_cast<size_t>(outputs * inputs)),
        scales(static_cast<size_t>(outputs * groups)) {}
};

Int4Layer search_layer(std::span<const float> weights, std::span<const float> importance, int group,
                       ThreadPool& pool) {
  const int64_t inputs = std::ssize(importance);
  Int4Layer out(std::ssize(weights) / inputs, inputs, group);
  pool.parallel_for(out.outputs, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t g = 0; g < out.groups; ++g) {
        const int64_t first = g * group, count = std::min<int64_t>(group, inputs - first);
        const auto at = static_cast<size_t>(n * inputs + first);
        out.scales[static_cast<size_t>(n * out.groups + g)] =
            search_int4(weights.subspan(at, static_cast<size_t>(count)),
                        importance.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                        out.codes.data() + at);
      }
    }
  });
  return out;
}

// The layout of compressed-tensors' "pack-quantized": eight codes of an output in a word.
std::vector<Tensor> packed_tensors(const Int4Layer& layer) {
  const int64_t words = (layer.inputs + 7) / 8;
  std::vector<uint32_t> codes(static_cast<size_t>(layer.outputs * words));
  for (int64_t n = 0; n < layer.outputs; ++n) {
    for (int64_t k = 0; k < layer.inputs; ++k)
      codes[static_cast<size_t>(n * words + k / 8)] |=
          uint32_t{layer.codes[static_cast<size_t>(n * layer.inputs + k)]} << (4 * (k % 8));
  }
  return {tensor_of(".weight_packed", DType::i32, {layer.outputs, words}, codes),
          tensor_of(".weight_scale", DType::bf16, {layer.outputs, layer.groups}, layer.scales),
          tensor_of(".weight_shape", DType::i64, {2}, std::vector<int64_t>{layer.outputs, layer.inputs})};
}

// The kernels' groups are a part of the layer's.
PackedMatrix matrix_of(const Int4Layer& layer, ThreadPool& pool) {
  const int64_t groups = int4_groups(static_cast<int>(layer.inputs));
  std::vector<bf16> scales;
  for (int64_t n = 0; n < layer.outputs; ++n) {
    for (int64_t g = 0; g < groups; ++g)
      scales.push_back(layer.scales[static_cast<size_t>(n * layer.groups + g * kInt4Group / layer.group)]);
  }
  const std::vector<uint8_t> zeros(scales.size(), 8);
  const auto bytes = [](const auto& values) { return reinterpret_cast<const std::byte*>(values.data()); };
  const TensorView weight{DType::u8, {layer.outputs, layer.inputs}, bytes(layer.codes)},
      scale{DType::bf16, {layer.outputs, groups}, bytes(scales)},
      zero{DType::u8, {layer.outputs, groups}, bytes(zeros)};
  return PackedMatrix({&weight, 1}, {}, WeightFormat::int4_panels, pool, {&scale, 1}, {&zero, 1});
}

// One try: codes for a scale, their error, and the scale that would fit these codes best.
struct Try {
  double error = 0;
  float next_scale = 0;
};
Try round_group(std::span<const float> weights, std::span<const float> importance, float scale,
                uint8_t* codes) {
  const float inverse = 1 / scale;
  float error = 0, product = 0, square = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const float level = std::clamp(std::nearbyint(weights[k] * inverse), -8.0f, 7.0f);
    const float off = weights[k] - level * scale;
    codes[k] = static_cast<uint8_t>(8 + level);
    error += importance[k] * off * off;
    product += importance[k] * weights[k] * level;
    square += importance[k] * level * level;
  }
  return {error, square > 0 ? product / square : scale};
}

}  // namespace

const CodeKind& kind_of(Codes codes) {
  static constexpr CodeKind kKinds[] = {{WeightFormat::fp8_panels, "W8A8 FP8"},
                                        {WeightFormat::int8_panels, "W8A8 INT8"},
                                        {WeightFormat::int4_panels, "four bits"}};
  return kKinds[static_cast<size_t>(codes)];
}

nlohmann::json quantization_config(Codes codes, int group, bool vision) {
  nlohmann::json ignore = nlohmann::json::array();
  if (codes != Codes::int4) {
    if (!vision) ignore.push_back("re:visual.*");
    return {{"quant_method", codes == Codes::fp8 ? "w8a8_fp8" : "w8a8_int8"},
            {"is_dynamic", false},
            {"ignore", ignore}};
  }
  ignore.push_back("lm_head");
  if (!vision) ignore.push_back("re:.*visual.*");
  const nlohmann::json weights = {{"num_bits", 4},       {"type", "int"},     {"strategy", "group"},
                                  {"group_size", group}, {"symmetric", true}, {"dynamic", false}};
  const nlohmann::json layers = {{"targets", {"Linear"}}, {"weights", weights}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", layers}}},
          {"ignore", ignore}};
}

bf16 search_int4(std::span<const float> weights, std::span<const float> importance, uint8_t* codes) {
  DVLM_ASSERT(weights.size() == importance.size());
  const float whole = int4_scale(weights);
  bf16 best = to_bf16(1);
  double lowest = INFINITY;
  std::fill_n(codes, weights.size(), uint8_t{8});
  std::vector<uint8_t> tried(weights.size());
  constexpr float kNarrowest = 0.6f, kStep = 0.04f;  // of the range; what lies outside is clamped
  for (float share = 1.04f; share > kNarrowest; share -= kStep) {
    for (const float sign : {1.0f, -1.0f}) {
      bf16 scale = to_bf16(sign * whole * share);
      for (int refined = 0; refined < 3; ++refined) {
        const float step = to_float(scale);
        if (step == 0 || !std::isfinite(1 / step)) break;
        const Try found = round_group(weights, importance, step, tried.data());
        if (found.error < lowest) {
          lowest = found.error;
          best = scale;
          std::copy(tried.begin(), tried.end(), codes);
        }
        const bf16 next = to_bf16(found.next_scale);
        if (next.bits == scale.bits) break;
        scale = next;
      }
    }
  }
  return best;
}

RoundedLayer round_layer(std::span<const float> weights, std::span<const float> importance, Codes codes,
                         int group, ThreadPool& pool) {
  if (codes != Codes::int4) return round_to_eight_bits(weights, std::ssize(importance), codes, pool);
  DVLM_ASSERT(group > 0 && group % kInt4Group == 0);
  const Int4Layer layer = search_layer(weights, importance, group, pool);
  return {packed_tensors(layer), matrix_of(layer, pool)};
}

}  // namespace dvlm
