// A tower's weights, the buffers of a pass and what it is asked: plain data in device memory, the same for
// the kernels of either layer and for the code that plans.
#pragma once
#include <vector>

#include "cuda/portable.h"

namespace dvlm::cuda {

constexpr int kChunk = 64;   // keys of a page and of a chunk of attention
constexpr int kSlices = 32;  // of the vocabulary
constexpr int kMaxAlternatives = 32;

struct Heads {
  int heads = 0, kv_heads = 0, dim = 0;  // dim: as stored, see TowerShape
  DVLM_BOTH int group() const { return heads / kv_heads; }
  DVLM_BOTH int width() const { return (heads + 2 * kv_heads) * dim; }
  DVLM_BOTH int tile_rows() const { return 64 / group(); }  // rows of a pass that share a block of attention
  DVLM_BOTH size_t page_elements() const {
    return static_cast<size_t>(kv_heads) * 2 * kChunk * dim;
  }  // of a layer
};

// How the sum over a linear layer's inputs is cut: into `slices` inside a block or `splits` over the grid;
// one of them is 1. It belongs to the layer: every row of every pass is added in the same order.
struct Cut {
  int slices = 1, splits = 1;
  int parts() const { return slices * splits; }
};

struct Matrix {
  Global<const Word4> weights;
  Global<const float> scale;  // [outputs]; e4m3 only
  int outputs = 0, inputs = 0;
  bool e4m3 = false;
  Cut cut;
  int tiles() const { return inputs / (e4m3 ? 32 : 16); }
};

// Biases are empty where the network has none. gate_up: the gates of 8 values, then their ups, in turn.
struct LayerMatrices {
  Matrix qkv, output, gate_up, down;
  Global<const float> qkv_bias, output_bias, gate_up_bias, down_bias;
  Global<const float> attention_norm, mlp_norm;
};

// Widths as stored: hidden a multiple of 32, head dimensions one of those that kernels know; what lies beyond
// the network's own is zero.
struct TowerShape {
  Heads heads;
  int hidden = 0, intermediate = 0;
  int norm_width = 0;  // the network's own hidden size
  int head_dim = 0;    // likewise
  float eps = 1e-6f;
};

struct TextTower {
  TowerShape shape;
  std::vector<LayerMatrices> layers;
  Global<const uint16_t> table;  // [vocab, hidden] in A's order
  Global<const float> norm;
  Matrix head;
  int vocab = 0;
};

struct VisionTower {
  TowerShape shape;
  std::vector<LayerMatrices> layers;
  std::vector<bool> whole;  // layers whose patches see their whole slice, not their window alone
  Matrix patches;           // [hidden, patch elements]
  Global<const float> merger_norm, merger_in_bias, merger_out_bias;
  Matrix merger_in, merger_out;
  int patches_per_token = 0;
};

// Where a row of a pass stands.
struct alignas(16) RowPlace {
  int tile = 0, row_in_tile = 0;   // of attention
  int page = 0, slot = 0;          // where its key and value go
  int first_copy = 0, copies = 0;  // further places for them
  int unused[2] = {};
};
struct alignas(8) KeyPlace {
  int page = 0, slot = 0;
};

// Up to Heads::tile_rows() rows of one segment.
struct alignas(16) AttentionTile {
  int first_page = 0;    // of its segment, in the page table
  int visible = 0;       // keys that its first row sees
  int visible_step = 0;  // and each further row
  int rows = 0;
  int first_row = 0;  // of the pass
};

// A chunk's share of attention: sums of exp2-weighted values that are not divided yet, the largest score, the
// sum of weights. The largest is rounded up to a whole number: bringing shares to a common largest then
// multiplies by powers of two, which is exact, so that it does not matter when that is done. [chunk][tile][kv
// head][64 query rows]...
struct Shares {
  Global<float> values;  // ...[dim]
  Global<float> largest, sums;
  int tiles = 0;
};

// Lengths change from pass to pass: shares have room for chunks up to the next power of two.
inline int rounded_chunks(int chunks) {
  int out = 1;
  while (out < chunks) out *= 2;
  return out;
}
// Whether attention goes chunk by chunk, in shares that are combined, for too few tiles to keep all
// processors at work; else tile by tile, with the same bits and without shares.
inline bool takes_chunks(const Heads& heads, int tiles, int chunks, int processors) {
  constexpr size_t kMaxBytes = size_t{256} << 20;
  const size_t rows = static_cast<size_t>(tiles) * static_cast<size_t>(heads.kv_heads) * kChunk *
                      static_cast<size_t>(rounded_chunks(chunks));
  return tiles * heads.kv_heads < processors &&
         rows * static_cast<size_t>(heads.dim + 2) * sizeof(float) <= kMaxBytes;
}

// dvlm::Wanted, as a device reads it.
struct alignas(16) RowWish {
  int excluded = -1, limit = 0;   // ExcludedTokens
  int mask = -1, mask_words = 0;  // its words of PassBuffers::masks; -1: every id
  float sharpness = 0;            // log2(e) / temperature; 0: greedy
  int top_k = 0;
  int alternatives = 0;
  int change = 0, changes = 0;  // its first of PassBuffers::changes, and how many
  int unused = 0;
  double top_p = 1, u = 0;
};

// dvlm::LogitChange, likewise.
struct alignas(16) RowChange {
  int token = 0;
  float add = 0, divide = 1, subtract = 0;
};

struct alignas(16) SliceBest {
  float largest = 0;        // among ids that may be chosen
  int token = -1;           // the lowest with that logit; -1: none above minus infinity
  float base = 0, sum = 0;  // of all ids: the largest, and the sum of share(); NaN: a logit is not a number
};

struct alignas(8) Chosen {
  int token = -1;         // -1: none may be chosen
  float logit = 0;        // the token's
  float probability = 0;  // dvlm::Chosen
  float base = 0;         // the largest logit of the row
  float sum = 0;          // of exp(logit - base) over the row; NaN: a logit is not a number
  int unused = 0;
};

struct alignas(8) Alternative {
  int token = -1;
  float logit = 0;
};

// Who sees what in a pass, and where keys and values go.
struct AttentionPlan {
  Global<const RowPlace> places;  // [rows]
  Global<const KeyPlace> key_copies;
  Global<const AttentionTile> tiles;
  Global<const int> page_table;
  int tile_count = 0;
  int max_chunks = 0;  // an upper bound of every tile's
};

// Buffers that steps hand values on in; all have room for the widest pass, its rows rounded up to 128.
struct PassBuffers {
  Global<float> residual;      // [rows, hidden]
  Global<uint16_t> inputs;     // B of the hidden or attention width
  Global<uint16_t> activated;  // B of the intermediate width
  Global<uint16_t> wide;       // [rows, intermediate or attention width] bf16, e4m3 only
  Global<float> parts;         // [splits][rows][outputs]
  Global<float> row_scale;     // of `inputs` and `activated`
  Global<uint16_t> queries;
  Shares shares;
  Global<uint16_t> pages;  // [page][layer][Heads::page_elements()]
};

// The layers and the head.
struct TextPass {
  int rows = 0, wanted = 0, page_copies = 0;
  AttentionPlan attention;
  Global<const int> tokens;       // [rows]; below 0: row -1 - token of `features`
  Global<const float> features;   // [.., hidden]
  Global<const float> rotation;   // [rows][dim]: cosines, then sines
  Global<const KeyPlace> copied;  // [page_copies]: page `slot` becomes what page `page` is, before all else
  Global<const int> wanted_rows;  // [wanted]
  Global<float> logits;           // [wanted, outputs of the head]
};

// What is made of a TextPass's logits.
struct ChoicePass {
  int wanted = 0, draws = 0;
  Global<float> logits;
  Global<const RowWish> wishes;  // [wanted]
  Global<const uint64_t> masks;
  Global<const RowChange> changes;
  bool changed = false;              // there are some
  Global<const int> drawing;         // [draws]: wanted rows that draw or want alternatives
  Global<SliceBest> best;            // [wanted, kSlices]
  Global<Chosen> chosen;             // [wanted]
  Global<Alternative> alternatives;  // [wanted, kMaxAlternatives], in no order
};

// A picture's patches in window order, `patches_per_token` of them a merged token.
struct VisionPass {
  int rows = 0;
  AttentionPlan windows, whole;
  Global<const float> patches;   // [rows, inputs of VisionTower::patches]
  Global<const float> rotation;  // as a TextPass's
  Global<float> features;        // [tokens, outputs of the merger]
};

}  // namespace dvlm::cuda
