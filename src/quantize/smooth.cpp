#include "quantize/smooth.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dvlm {

std::vector<LayerGroup> layer_groups(const ModelConfig& config, bool vision) {
  std::vector<LayerGroup> out;
  const auto add = [&](const std::string& prefix, const char* norm,
                       std::initializer_list<const char*> linears) {
    LayerGroup group{norm ? prefix + norm : "", {}};
    for (const char* linear : linears) group.linears.push_back(prefix + linear);
    out.push_back(std::move(group));
  };
  for (int i = 0; i < config.text.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer, "input_layernorm", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    add(layer, nullptr, {"self_attn.o_proj"});
    add(layer, "post_attention_layernorm", {"mlp.gate_proj", "mlp.up_proj"});
    add(layer, nullptr, {"mlp.down_proj"});
  }
  if (!vision) return out;
  for (int i = 0; i < config.vision.depth; ++i) {
    const std::string block = fmt::format("visual.blocks.{}.", i);
    add(block, "norm1", {"attn.qkv"});
    add(block, nullptr, {"attn.proj"});
    add(block, "norm2", {"mlp.gate_proj", "mlp.up_proj"});
    add(block, nullptr, {"mlp.down_proj"});
  }
  // The merger's norm has one weight for the four patches of a merged token: plain rounding.
  add("visual.merger.", nullptr, {"mlp.0"});
  add("visual.merger.", nullptr, {"mlp.2"});
  return out;
}

std::vector<float> smoothing_factors(std::span<const float> activations, std::span<const float> weights,
                                     double alpha) {
  DVLM_ASSERT(activations.size() == weights.size());
  constexpr double kFloor = 1e-5;
  std::vector<float> out;
  for (size_t k = 0; k < weights.size(); ++k) {
    const double a = std::max(double{activations[k]}, kFloor), w = std::max(double{weights[k]}, kFloor);
    out.push_back(static_cast<float>(std::max(std::pow(a, alpha) / std::pow(w, 1 - alpha), kFloor)));
  }
  return out;
}

}  // namespace dvlm
