// A LoRA adapter that serves drafts alone: small matrices beside the linear layers of the text tower.
#pragma once
#include <algorithm>
#include <map>
#include <vector>

#include "checkpoint/lora.h"
#include "core/thread_pool.h"
#include "kernels/matrix.h"

namespace dvlm {

// Adds B (A x) to what a linear layer gives; both empty where the adapter leaves the layer alone.
struct LowRank {
  PackedMatrix a, b;  // [ranks, inputs], [outputs, ranks]
  int rank() const { return a.outputs(); }
};

struct LayerAdapters {
  LowRank qkv, output, gate_up, down;
  int rank() const { return std::max({qkv.rank(), output.rank(), gate_up.rank(), down.rank()}); }
};

struct DraftAdapters {
  std::vector<LayerAdapters> layers;
  std::map<TokenId, std::vector<float>> rows = {};  // [hidden], in place of the embedding's
  int rank = 0;                                     // the largest of all layers
};

// Parts of a layer that are multiplied together share one pair of matrices, in which each has ranks of its
// own. Throws Error for an adapter that changes more than layers of the text tower.
DraftAdapters load_adapters(const Lora& lora, const ModelConfig& config, WeightFormat format,
                            ThreadPool& pool);
size_t adapter_bytes(const Lora& lora, const ModelConfig& config, WeightFormat format);

}  // namespace dvlm
