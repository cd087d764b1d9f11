// Every weight of the network, repacked for the kernels.
#pragma once
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/thread_pool.h"
#include "kernels/matrix.h"
#include "native/packed_file.h"

namespace dvlm {

// A layer of the text tower, or a block of the vision tower, where kv_heads = heads.
struct LayerWeights {
  std::vector<float> attention_norm;  // [width]
  PackedMatrix qkv;                   // [(heads + 2 kv_heads) * head_dim, width]: q, k, v
  PackedMatrix output;                // [width, heads * head_dim]
  std::vector<float> mlp_norm;        // [width]
  PackedMatrix gate_up;               // [2 * intermediate, width]: gate, up
  PackedMatrix down;                  // [width, intermediate]
};

struct TextWeights {
  std::vector<LayerWeights> layers;
  std::vector<float> norm;                // [hidden]
  PackedMatrix head;                      // [vocab, hidden]
  std::optional<PackedMatrix> embedding;  // [vocab, hidden]; none when the head serves as the table
  const PackedMatrix& table() const { return embedding ? *embedding : head; }
};

struct VisionWeights {
  PackedMatrix patches;  // [width, patch_elements]
  std::vector<LayerWeights> blocks;
  std::vector<float> merger_norm;      // [width]
  PackedMatrix merger_in, merger_out;  // [4 width, 4 width], [text hidden, 4 width]
};

// What weights become: those of linear layers, of the head and the embedding, and of patches. Linear layers
// that the checkpoint holds as codes of eight bits stay so where the formats are f32 or bf16, and codes of
// four bits where `four_bits` says so.
struct WeightFormats {
  WeightFormat linear = WeightFormat::bf16_panels, head = WeightFormat::bf16_panels,
               wide = WeightFormat::bf16_panels;
  bool four_bits = false;
  bool rounds() const { return linear == WeightFormat::int8_panels || linear == WeightFormat::int4_panels; }
  WeightFormat of(const TensorView& linear_weight) const;
};

// Whether int4_panels hold the four-bit codes of all layers that have some as they are. Where they do not,
// a warning says why.
bool keeps_four_bits(const Checkpoint& checkpoint);

// Bytes that the packed weights will take.
size_t packed_bytes(const Checkpoint& checkpoint, const WeightFormats& formats);

// What the weights of one model share while they load.
struct Loading {
  ThreadPool& pool;
  LoadProgress& progress;
  PackedFile* packed = nullptr;
};

// The linear layers and the head once more in int8_panels or int4_panels, for drafts; no embedding.
TextWeights load_draft(const Checkpoint& checkpoint, WeightFormat format, const Loading& loading);
size_t draft_bytes(const Checkpoint& checkpoint, WeightFormat format);

// load_text and load_vision read the checkpoint once, front to back, and give each tensor's file pages back
// after packing it. They and load_draft take matrices from `packed` when it is complete, else give it theirs.
// They throw Error when a tensor is missing, misshapen or of a type that the native model does not run, and
// after Ctrl-C.
TextWeights load_text(const Checkpoint& checkpoint, const WeightFormats& formats, const Loading& loading);
VisionWeights load_vision(const Checkpoint& checkpoint, const WeightFormats& formats, const Loading& loading);

}  // namespace dvlm
