// Attention of rows that share a pass over keys in a cache, in scratch space, or both.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/linear.h"

namespace dvlm {

enum class KvType : uint8_t { f32, bf16 };

// Keys and values of one head stand in blocks of kKvBlock tokens: keys transposed [head_dim][kKvBlock], then
// values [kKvBlock][padded()]; in bf16 two neighbouring lines of either are interleaved into one of pairs,
// [head_dim / 2][kKvBlock] and [kKvBlock / 2][padded()], as dot products want them. A head's blocks follow
// each other.
constexpr int kKvBlock = 16;

struct HeadShape {
  int heads = 0, kv_heads = 0, head_dim = 0;  // head_dim is even
  KvType format = KvType::f32;
  int group() const { return heads / kv_heads; }
  int padded() const { return (head_dim + 15) / 16 * 16; }
  size_t element() const { return format == KvType::f32 ? 4 : 2; }
  // Of a block.
  ptrdiff_t key_bytes() const { return static_cast<ptrdiff_t>(element()) * kKvBlock * head_dim; }
  size_t block_bytes() const { return element() * kKvBlock * static_cast<size_t>(head_dim + padded()); }
};

inline int blocks_for(int tokens) {
  return (tokens + kKvBlock - 1) / kKvBlock;
}

// Blocks of all heads of one layer, which may lie in several pages.
struct KvBlocks {
  std::byte* const* pages = nullptr;  // [blocks / page_blocks], not owned
  size_t offset = 0;                  // of head 0 in every page
  size_t head_stride = 0;
  int page_blocks = std::numeric_limits<int>::max();  // per head and page

  std::byte* block(const HeadShape& shape, int head, int number) const {
    return pages[number / page_blocks] + offset + static_cast<size_t>(head) * head_stride +
           shape.block_bytes() * static_cast<size_t>(number % page_blocks);
  }
};

// Writes the key and value of one token of one head at `position`. key, value: [head_dim].
void store_kv_row(const HeadShape& shape, const KvBlocks& blocks, int head, int position, const float* key,
                  const float* value);

// Copies tokens [first, first + count) of one head, all inside one block, to the same places of another
// block.
void copy_kv(const HeadShape& shape, const std::byte* from, std::byte* to, int first, int count);

// Rows of one segment. Visible tokens are numbered 0, 1, ... in the order in which rows see them: number v
// stands in block v / kKvBlock, of `cache` when v / kKvBlock < cache_blocks, else of `own` (whose block 0 is
// number cache_blocks).
struct AttentionSegment {
  Rows rows;  // [rows, heads * head_dim] queries, rotated; replaced by the attention output
  KvBlocks cache;
  int cache_blocks = 0;
  KvBlocks own;
  int visible = 0;       // tokens that row 0 sees
  int visible_step = 0;  // further tokens per row: 1 for causal rows, 0 when all see the same
};

// Space of the threads; grows to the largest call.
struct AttentionScratch {
  Buffer<float> floats;
};

// softmax(scale q k^T) v with scale = head_dim^-1/2, all rows of all segments, query head h using kv head h /
// group. A row's visible tokens are taken in ascending order in chunks of fixed size that begin at number 0:
// its bits depend only on its query and its visible keys and values, not on where they stand, on other rows
// or on threads. Where the machine has dot products of bf16, keys in bf16 meet queries and softmax weights
// that are rounded to bf16 as well, as on a GPU; sums are f32 everywhere.
void attention(const HeadShape& shape, std::span<const AttentionSegment> segments, AttentionScratch& scratch,
               ThreadPool& pool);

}  // namespace dvlm
