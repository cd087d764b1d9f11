// SmoothQuant (Xiao et al., ICML 2023): moves the spread of activations into the weights before both are
// rounded, by factors that the norm in front of a linear layer absorbs (docs/reference.md, SmoothQuant).
#pragma once
#include <span>
#include <string>
#include <vector>

#include "checkpoint/config.h"

namespace dvlm {

// Linear layers that share one input, and the norm whose weight can absorb the input's scale (or none).
struct LayerGroup {
  std::string norm;                  // without ".weight"; empty: nothing absorbs
  std::vector<std::string> linears;  // without ".weight"; the first names the group
};

// Every linear layer that W8A8 quantises, text tower first; `vision`: those of the vision tower too.
std::vector<LayerGroup> layer_groups(const ModelConfig& config, bool vision);

// s_j = a_j^alpha / w_j^(1 - alpha) for activations a and weights w (both max |.| per input, floored at
// 1e-5), floored at 1e-5: divide the norm's weight by it, multiply the columns of the linears.
std::vector<float> smoothing_factors(std::span<const float> activations, std::span<const float> weights,
                                     double alpha);

}  // namespace dvlm
