// The native CPU model.
#pragma once
#include <filesystem>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "core/thread_pool.h"
#include "model/linears.h"
#include "model/model.h"

namespace dvlm {

enum class Precision {
  automatic,  // what the checkpoint holds: bf16 for BF16 and F16 files, f32 for F32 files
  f32,        // weights and arithmetic in f32: tests and oracles
  bf16,       // weights and linear inputs bf16, accumulation and residual stream f32
};            // linears that the checkpoint holds as F8_E4M3 run W8A8 in any of them

// What passes of nothing but `approximate` segments compute with.
enum class DraftPrecision {
  same,  // as every other pass
  int8,  // weights and inputs of linear layers and the head in eight-bit integers
  int4,  // the weights in four bits, the inputs in eight
};       // beside the weights themselves

struct NativeOptions {
  Precision precision = Precision::automatic;
  size_t memory_limit = 0;  // bytes of weights, buffers and keys and values; 0 = what the machine has free
  size_t key_limit = 0;     // bytes of keys and values; 0 = what memory_limit leaves
  DraftPrecision draft = DraftPrecision::same;
  std::filesystem::path packed_file = {};  // keeps the repacked weights for the next start, see PackedFile
  LinearObserver observer = {};            // sees the inputs of every linear layer; for calibration
};

// Reads and repacks the weights. Throws Error when a tensor is missing or misshapen or memory would not
// suffice.
std::unique_ptr<Model> load_native(const Checkpoint& checkpoint, ThreadPool& pool,
                                   const NativeOptions& options = {});

}  // namespace dvlm
