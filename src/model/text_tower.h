// The language model: embeddings, decoder layers with M-RoPE and grouped keys, head
// (docs/reference.md, Text tower).
#pragma once
#include "core/memory.h"
#include "kernels/attention.h"
#include "model/linears.h"
#include "model/pass.h"
#include "model/rotary_table.h"
#include "model/weights.h"

namespace dvlm {

// Every buffer of a pass. Grows to the largest pass, so that steady decoding allocates nothing.
struct TextActivations {
  Buffer<float> hidden;            // [rows, hidden], the residual stream
  Buffer<float> qkv;               // [rows, (heads + 2 kv_heads) * head_dim]; attention output replaces q
  Buffer<float> normed;            // [chunk or logit rows, hidden]
  Buffer<float> wide;              // [chunk, 2 * intermediate]
  Buffer<float> logits;            // [logit rows, vocab]
  Buffer<std::byte> keys;          // [kv_heads][own blocks]: keys of this layer that are not kept
  std::byte* keys_page = nullptr;  // its data
  AttentionScratch attention;
  std::vector<AttentionSegment> segments;
};

class TextTower {
 public:
  TextTower(const TextConfig& config, TextWeights weights, KeyFormat keys, ThreadPool& pool,
            LinearObserver observer);

  // Weights for approximate passes; without an embedding, which is the main one's.
  void set_draft(TextWeights draft) { draft_ = std::move(draft); }

  const HeadShape& heads() const { return heads_; }
  Logits forward(const Pass& pass, const ModelConfig& config);

  // Rows that pass through the wide linears together: enough for full speed, few enough to bound memory.
  static constexpr int kChunkRows = 256;
  // Bytes of the buffers that a pass needs.
  size_t activation_bytes(const Pass& pass) const;

 private:
  void reserve(const Pass& pass);
  void embed(const Pass& pass, const ModelConfig& config);
  void set_rotary(const Pass& pass);
  void project_qkv(const TextLayer& layer, int first, int rows);
  void store_keys(const Pass& pass, int layer);
  void store_rows(const PlannedSegment& from, int rows, const KeyBlocks& to, int position);
  void attend(const Pass& pass, int layer);
  void project_output(const TextLayer& layer, int first, int rows);
  void mlp(const TextLayer& layer, int first, int rows);
  void head(const TextWeights& weights, const Pass& pass);

  KeyBlocks own_keys(const Pass& pass, const PlannedSegment& segment);
  int qkv_width() const { return (heads_.heads + 2 * heads_.kv_heads) * heads_.head_dim; }
  Rows hidden(int first, int rows) { return view(a_.hidden, config_.hidden_size, first, rows); }
  Rows qkv(int first, int rows) { return view(a_.qkv, qkv_width(), first, rows); }
  static Rows view(Buffer<float>& buffer, int width, int first, int rows) {
    return Rows{buffer.data(), static_cast<size_t>(width), first + rows}.part(first, rows);
  }

  TextConfig config_;
  TextWeights weights_;
  std::optional<TextWeights> draft_;
  HeadShape heads_;
  RotaryTable rotary_;
  TextActivations a_;
  ThreadPool& pool_;
  Linears linear_;
};

}  // namespace dvlm
