// What attention.cpp and its kernels for bf16 dot products and tiles share. Not for other rooms.
#pragma once
#include <algorithm>

#include "kernels/attention.h"

namespace dvlm {

constexpr int kChunk =
    64;  // visible tokens per step of the online softmax; part of the arithmetic, see attention.h
constexpr int kQueries = 32;  // queries that share one reading of a chunk
constexpr int kTile = 8;      // queries that share one reading of a key

// Some rows of one segment with the query heads of one kv head: queries[q] is row q / group, head q % group.
struct AttentionTask {
  const HeadShape* shape;
  const AttentionSegment* segment;
  int kv_head, first_row, rows;
  int queries() const { return rows * shape->group(); }
  int visible(int query) const {
    return segment->visible + segment->visible_step * (first_row + query / shape->group());
  }
  float* query(int q) const {
    const int group = shape->group();
    return segment->rows.row(first_row + q / group) +
           static_cast<ptrdiff_t>(kv_head * group + q % group) * shape->head_dim;
  }
  const std::byte* block(int b) const {
    const bool own = b >= segment->cache_blocks;
    const KvBlocks& blocks = own ? segment->own : segment->cache;
    return blocks.block(*shape, kv_head, own ? b - segment->cache_blocks : b);
  }
};

// Asks for the lines of a few KV blocks, two at a time: pages are too short for the hardware to see a stream.
struct KvPrefetcher {
  const std::byte* blocks[kChunk / kKvBlock] = {};
  int count = 0, block = 0;
  ptrdiff_t bytes = 0, at = 0;  // of each

  void issue() {
    if (block == count) return;
    __builtin_prefetch(blocks[block] + at, 0, 2);
    __builtin_prefetch(blocks[block] + at + 64, 0, 2);
    if ((at += 128) < bytes) return;
    at = 0, ++block;
  }
};

// The first tile of queries asks for what all tiles need: while it scores the chunk that begins at visible
// token `start`, that chunk's values; while it adds those, the next chunk's keys.
inline KvPrefetcher prefetch_values(const AttentionTask& task, int first_query, int start) {
  const ptrdiff_t keys = task.shape->key_bytes();
  KvPrefetcher out{.bytes = static_cast<ptrdiff_t>(task.shape->block_bytes()) - keys};
  const int all = blocks_for(task.visible(task.queries() - 1)), first = start / kKvBlock;
  for (int b = first; first_query == 0 && b < std::min(all, first + kChunk / kKvBlock); ++b)
    out.blocks[out.count++] = task.block(b) + keys;
  return out;
}
inline KvPrefetcher prefetch_keys(const AttentionTask& task, int first_query, int start) {
  KvPrefetcher out{.bytes = task.shape->key_bytes()};
  const int all = blocks_for(task.visible(task.queries() - 1)), first = (start + kChunk) / kKvBlock;
  for (int b = first; first_query == 0 && b < std::min(all, first + kChunk / kKvBlock); ++b)
    out.blocks[out.count++] = task.block(b);
  return out;
}

// One thread's state: queries of the task, their outputs so far, and the softmax of the current chunk.
struct AttentionState {
  float* queries;  // [tiles][head_dim][kTile], scaled; for dot products [tiles][head_dim / 2][kTile] pairs,
                   // not scaled; for AMX the same as [queries][head_dim / 2, in whole tiles]
  float* outputs;  // [queries][padded]
  float* maxima;   // [queries]
  float* sums;     // [queries]
  float* scores;   // [queries][kChunk]; but for AMX of one tile alone
  float* values;   // AMX: a chunk's values in one piece, [kChunk / 2][padded] pairs
  float* keys;     // AMX: the last 32 dimensions of a chunk's keys, [blocks][16][kKvBlock] pairs

  static int query_capacity(const HeadShape& shape) {
    return (std::max(kQueries, shape.group()) + kTile - 1) / kTile * kTile;
  }
  static size_t floats(const HeadShape& shape) {
    const size_t n = static_cast<size_t>(query_capacity(shape));
    return n * static_cast<size_t>(words(shape) + shape.padded() + kChunk + 2) +
           static_cast<size_t>(kChunk / 2 * shape.padded() + kChunk * 16);
  }
  AttentionState(const HeadShape& shape, float* space) {
    const size_t n = static_cast<size_t>(query_capacity(shape));
    queries = space;
    outputs = queries + n * static_cast<size_t>(words(shape));
    scores = outputs + n * static_cast<size_t>(shape.padded());
    values = scores + n * kChunk;
    keys = values + static_cast<ptrdiff_t>(kChunk / 2) * shape.padded();
    maxima = keys + kChunk * 16;
    sums = maxima + n;
  }

 private:
  static int words(const HeadShape& shape) { return (shape.head_dim + 15) / 16 * 16; }  // of a query
};

// Calls run<R>(first, count, start) for every chunk and, in each, every tile of queries that sees it: `count`
// <= R queries from `first` on, the chunk beginning at visible token `start`.
template <class Run>
void each_tile(const AttentionTask& task, const Run& run) {
  const int queries = task.queries(), visible = task.visible(queries - 1);
  for (int start = 0; start < visible; start += kChunk) {
    for (int first = 0; first < queries; first += kTile) {
      const int count = std::min(kTile, queries - first);
      if (task.visible(first + count - 1) <= start) continue;
      if (count > 4)
        run.template operator()<8>(first, count, start);
      else if (count > 2)
        run.template operator()<4>(first, count, start);
      else if (count > 1)
        run.template operator()<2>(first, count, start);
      else
        run.template operator()<1>(first, count, start);
    }
  }
}

// The task with f32 multiply-adds of Highway's set in use; over keys in bf16 with AVX-512's dot products, and
// on AMX's tiles.
void highway_attention(const AttentionTask& task, AttentionState& state);
void avx512_bf16_attention(const AttentionTask& task, AttentionState& state);
void amx_attention(const AttentionTask& task, AttentionState& state);
void emulated_amx_attention(const AttentionTask& task, AttentionState& state);

}  // namespace dvlm
