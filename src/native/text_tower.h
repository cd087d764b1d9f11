// The language model: embeddings, decoder layers with M-RoPE and grouped keys, head
// (docs/reference.md, Text tower).
#pragma once
#include <array>

#include "core/memory.h"
#include "kernels/attention.h"
#include "model/rotary_table.h"
#include "native/adapters.h"
#include "native/chooser.h"
#include "native/kv_pool.h"
#include "native/linears.h"
#include "native/weights.h"

namespace dvlm {

// Every buffer of a pass. Grows to the largest pass, so that steady decoding allocates nothing.
struct TextActivations {
  Buffer<float> hidden;      // [rows, hidden], the residual stream
  Buffer<float> qkv;         // [rows, (heads + 2 kv_heads) * head_dim]; attention output replaces q
  Buffer<float> normed;      // [chunk or wanted rows, hidden]
  Buffer<float> wide;        // [chunk, 2 * intermediate]
  Buffer<float> low;         // [chunk, ranks of an adapter]
  Buffer<float> logits;      // [wanted rows, vocab], or a piece of the vocabulary
  Buffer<std::byte> own_kv;  // [kv_heads][own blocks]: keys and values of this layer that are not kept
  std::byte* own_kv_page = nullptr;  // its data
  AttentionScratch attention;
  std::vector<AttentionSegment> segments;
};

class TextTower {
 public:
  TextTower(const TextConfig& config, TextWeights weights, KvType kv, ThreadPool& pool,
            LinearObserver observer);

  // Weights for approximate passes; without an embedding, which is the main one's.
  void set_draft(TextWeights draft) { draft_ = std::move(draft); }
  // For drafts and denoising: segments that see in both directions and are not kept.
  void set_adapters(DraftAdapters adapters) { adapters_ = std::move(adapters); }

  const HeadShape& heads() const { return heads_; }
  // `watch` hears of every layer; what it throws leaves the sequences as they were.
  std::span<const Chosen> forward(const NativePass& pass, const ModelConfig& config, const LayerWatch& watch);

  // Rows that pass through the wide linears together: enough for full speed, few enough to bound memory.
  static constexpr int kChunkRows = 256;
  // Of the buffers that a pass needs, those of TextActivations first; each grows to the largest that a pass
  // has needed.
  enum BufferOf : uint8_t {
    kHidden,
    kQkv,
    kNormed,
    kWide,
    kLow,
    kLogits,
    kOwnKv,
    kInputs,
    kRotary,
    kPartialSums,
    kBuffers
  };
  using BufferBytes = std::array<size_t, kBuffers>;
  BufferBytes activation_bytes(const NativePass& pass) const;

 private:
  size_t partial_sums(const PassPlan& plan) const;  // of linear layers
  size_t kv_bytes(const NativePass& pass) const;    // of what is not kept
  void reserve(const NativePass& pass);
  void embed(const NativePass& pass, const ModelConfig& config);
  void set_rotary(const NativePass& pass);
  // Rows of a pass that go through the wide linears together.
  struct Chunk {
    const NativePass& pass;
    const LayerAdapters& adapters;
    int first = 0, rows = 0;
  };
  void project_qkv(const LayerWeights& layer, const Chunk& chunk);
  void store_kv(const NativePass& pass, int layer);
  void store_rows(const NativeSegment& from, int rows, const KvBlocks& to, int position);
  void attend(const NativePass& pass, int layer);
  void project_output(const LayerWeights& layer, const Chunk& chunk);
  void mlp(const LayerWeights& layer, const Chunk& chunk);
  void adapt(const LowRank& adapter, const Chunk& chunk, Rows x, Rows y);
  std::span<const Chosen> head(const TextWeights& weights, const PassPlan& plan);
  int logit_columns(const PassPlan& plan) const;  // that are held at once

  KvBlocks own_kv(const NativePass& pass, const NativeSegment& segment);
  int qkv_width() const { return (heads_.heads + 2 * heads_.kv_heads) * heads_.head_dim; }
  Rows hidden(int first, int rows) { return view(a_.hidden, config_.hidden_size, first, rows); }
  Rows qkv(int first, int rows) { return view(a_.qkv, qkv_width(), first, rows); }

  TextConfig config_;
  TextWeights weights_;
  std::optional<TextWeights> draft_;
  DraftAdapters adapters_;
  HeadShape heads_;
  RotaryTable rotary_;
  TextActivations a_;
  ThreadPool& pool_;
  Linears linear_;
  Chooser chooser_;
};

}  // namespace dvlm
