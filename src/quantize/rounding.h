// What a quantized checkpoint holds instead of the weights of a linear layer.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/matrix.h"

namespace dvlm {

enum class Codes : uint8_t { fp8, int8, int4 };

// What tells the kinds of codes apart, but for how they are made.
struct CodeKind {
  WeightFormat format;     // that rounds to such codes without calibration
  std::string_view title;  // of a plot
};
const CodeKind& kind_of(Codes codes);

// The key of config.json; `vision`: its tower is quantized, too.
nlohmann::json quantization_config(Codes codes, int group, bool vision);

struct RoundedLayer {
  struct Tensor {
    std::string_view ending;  // of its name, behind that of the layer
    DType type;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Tensor> tensors;  // as they are written
  PackedMatrix matrix;          // what a model makes of them
};

// Weights [outputs, inputs] as codes. Those of four bits have a scale for every `group` inputs of an output,
// a multiple of kInt4Group, such that the error weighted by `importance` [inputs] (the mean square of each)
// is small; eight bits use neither.
RoundedLayer round_layer(std::span<const float> weights, std::span<const float> importance, Codes codes,
                         int group, ThreadPool& pool);

// Codes [n], 0 to 15, of a group of weights [n], which stand for scale * (code - 8): the best of some scales
// of either sign, each refined by least squares. Returns the scale.
bf16 search_int4(std::span<const float> weights, std::span<const float> importance, uint8_t* codes);

}  // namespace dvlm
