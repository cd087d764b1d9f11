// Quantized checkpoints from wide ones: SmoothQuant where a norm can absorb it, then codes (rounding.h).
#pragma once
#include <filesystem>
#include <span>

#include "core/thread_pool.h"
#include "quantize/calibration.h"
#include "quantize/rounding.h"

namespace dvlm {

// SmoothQuant (Xiao et al., ICML 2023) moves the spread of activations into the weights before both are
// rounded, by factors that the norm in front of a linear layer absorbs (docs/reference.md, SmoothQuant).

// Linear layers that share one input, and the norm whose weight can absorb the input's scale (or none).
struct LayerGroup {
  std::string norm;                  // without ".weight"; empty: nothing absorbs
  std::vector<std::string> linears;  // without ".weight"; the first names the group
};

// Every linear layer that is quantised, text tower first; `vision`: those of the vision tower too.
std::vector<LayerGroup> layer_groups(const ModelConfig& config, bool vision);

// s_j = a_j^alpha / w_j^(1 - alpha) for activations a and weights w (both max |.| per input, floored at
// 1e-5), floored at 1e-5: divide the norm's weight by it, multiply the columns of the linears.
std::vector<float> smoothing_factors(std::span<const float> activations, std::span<const float> weights,
                                     double alpha);

struct QuantizeOptions {
  Codes codes = Codes::fp8;
  int group = kInt4Group;  // inputs that share a scale, of int4
  double alpha = 0.5;      // how much of the activations' spread moves into the weights
  bool vision = true;      // false: the vision tower stays as it is ("ignore": ["re:visual.*"])
  bool round = true;       // false: only smooth, and write what changed as F32: the same function as before
};

// Relative errors (root of the summed squares) of a layer's outputs on the kept calibration tokens.
struct LayerReport {
  std::string name;
  int outputs = 0, inputs = 0;
  double plain = 0;        // rounded as it is, without calibration
  double smoothed = 0;     // as written; equal to `plain` where no norm absorbs
  std::vector<int> worst;  // outputs with the largest relative errors, worst first
  std::vector<double> worst_errors;
};

// Throws Error when the checkpoint is not sound or quantised already: for before hours of calibration.
void check_quantizable(const Checkpoint& checkpoint, bool vision);

// Writes `checkpoint` quantised into `output` (model.safetensors, config.json with quantization_config, every
// other file of the folder as it is). Shows a progress bar. Throws Error when the checkpoint is not
// check_quantizable(), `output` holds a model, the calibration lacks a layer, or the user interrupts;
// `output` then holds no model.
std::vector<LayerReport> quantize(const Checkpoint& checkpoint, const CalibrationInputs& inputs,
                                  const QuantizeOptions& options, const std::filesystem::path& output,
                                  ThreadPool& pool);

std::string report_table(const std::vector<LayerReport>& layers);              // Markdown
std::string report_plot(const std::vector<LayerReport>& layers, Codes codes);  // SVG

}  // namespace dvlm
