// What a user may ask of a model when it is loaded.
#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace dvlm {

class Lora;

enum class Precision {
  automatic,  // what the checkpoint holds: bf16 for BF16 and F16 files, f32 for F32 files, and codes as codes
  f32,        // weights and arithmetic in f32: tests and oracles
  bf16,       // weights and linear inputs bf16, accumulation and residual stream f32
  int8,       // linear layers, head and embedding in eight-bit integers, inputs too; the rest as bf16
  int4,       // the same with four bits for the weights of linear layers
};            // F8_E4M3 and I8 run W8A8 in the first three; codes of four bits stay in automatic and int4

// What passes of nothing but `approximate` segments compute with.
enum class DraftPrecision {
  same,       // as every other pass
  int8,       // weights and inputs of linear layers and the head in eight-bit integers
  int4,       // the weights in four bits, the inputs in eight
  fp8,        // the linear layers W8A8, on a card; what FP8 checkpoints do anyway
  automatic,  // on the CPU int4 or same, see drafts_that_pay; on a card same
};            // int8, int4 and fp8 stand beside the weights themselves

// What `automatic` is for weights of so many bytes, whose four-bit copy has so many: int4 for large weights,
// when both leave room in `free` bytes for keys, values and buffers (a quarter of them). Passes of small
// models do not wait for memory, and gain nothing.
constexpr DraftPrecision drafts_that_pay(size_t weights, size_t int4_drafts, size_t free) {
  constexpr size_t kLarge = size_t{256} << 20;  // no cache holds it
  const size_t both = weights + int4_drafts;
  return weights >= kLarge && both + both / 4 <= free ? DraftPrecision::int4 : DraftPrecision::same;
}

// Called before a linear layer runs, with its name (see docs/quantization.md) and its inputs [rows, inputs],
// which stand `stride` floats apart.
struct LinearInputs {
  const float* data;
  size_t stride;
  int rows, inputs;
  std::span<const float> row(int i) const {
    return {data + static_cast<size_t>(i) * stride, static_cast<size_t>(inputs)};
  }
};
using LinearObserver = std::function<void(const std::string& layer, const LinearInputs& inputs)>;

struct ModelOptions {
  std::string device = "cpu";  // see backends/load_model.h
  Precision precision = Precision::automatic;
  int threads = 0;          // of the CPU; 0 = all cores
  size_t memory_limit = 0;  // bytes of weights, buffers and keys and values; 0 = what the machine has free
  size_t kv_limit = 0;      // bytes of keys and values; 0 = what memory_limit leaves
  DraftPrecision draft = DraftPrecision::same;
  // Serves segments that see in both directions and are not kept: drafts and denoising.
  std::shared_ptr<const Lora> draft_lora = {};
  std::filesystem::path packed_file = {};  // keeps the repacked weights for the next start; empty: none
  LinearObserver observer = {};            // sees the inputs of every linear layer; for calibration
  // Hears which device "auto" takes, and why, before the model is loaded there. Not called where there is no
  // plugin for cards: then nothing was chosen.
  std::function<void(const std::string& device, const std::string& reason)> on_device = {};
};

}  // namespace dvlm
