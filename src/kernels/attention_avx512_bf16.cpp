// Attention over keys in bf16 with AVX-512's dot products of bf16 pairs, which make two products for each
// that an f32 multiply-add makes. Queries and softmax weights are rounded to bf16; scores, sums and outputs
// are f32.
#include "kernels/attention_avx512.h"

#if defined(__x86_64__)
#include "core/types.h"

DVLM_PUSH_AVX512

namespace dvlm {

namespace {

__m512 dot(__m512 sum, __m512i pairs, const uint32_t* word) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(pairs),
                          reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(*word))));
}

// A chunk's keys; its values stand `values` bytes behind them.
struct ChunkBlocks {
  const std::byte* keys[kBlocks];
  ptrdiff_t values;
};

// Calls use(r, v) for V vectors of R rows, unrolled.
template <int R, int V, class Use>
HWY_INLINE void each_vector(const Use& use) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) use(r, v);
  }
}

// scores[r][k] = queries[r] . keys[k] for `B` neighbouring KV blocks. queries: [pairs][kTile].
template <int R, int B>
void score_blocks(const uint32_t* queries, const std::byte* const* keys, int pairs, float* scores,
                  KvPrefetcher& prefetcher) {
  __m512 sums[R][B];
  each_vector<R, B>([&](int r, int b) DVLM_INLINE { sums[r][b] = _mm512_setzero_ps(); });
  for (int d = 0; d < pairs; ++d, queries += kTile) {
    prefetcher.issue();
    __m512i key[B];
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) key[b] = _mm512_loadu_si512(keys[b] + static_cast<ptrdiff_t>(d) * 64);
    each_vector<R, B>([&](int r, int b) DVLM_INLINE { sums[r][b] = dot(sums[r][b], key[b], queries + r); });
  }
  each_vector<R, B>([&](int r, int b)
                        DVLM_INLINE { _mm512_store_ps(scores + r * kChunk + b * kKvBlock, sums[r][b]); });
}

// outputs[r] += sum over the chunk's keys [first, last) of weights[r][k] * values[k], in pairs and ascending;
// `first` is even. weights: pairs, [R] lines kChunk words apart.
template <int R, int V>
void add_columns(const uint32_t* weights, const ChunkBlocks& blocks, int first, int last, int padded,
                 int column, float* outputs, KvPrefetcher& prefetcher) {
  __m512 sums[R][V];
  const auto output = [&](int r, int v) DVLM_INLINE { return outputs + r * padded + column + v * kLanes; };
  each_vector<R, V>([&](int r, int v) DVLM_INLINE { sums[r][v] = _mm512_loadu_ps(output(r, v)); });
  const auto add = [&](int pair, __m512i mask) {
    const std::byte* line = blocks.keys[pair / (kKvBlock / 2)] + blocks.values +
                            static_cast<ptrdiff_t>(pair % (kKvBlock / 2) * padded + column) * 4;
    __m512i value[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) value[v] = _mm512_and_si512(_mm512_loadu_si512(line + v * 64), mask);
    each_vector<R, V>([&](int r, int v) DVLM_INLINE {
      sums[r][v] = dot(sums[r][v], value[v], weights + r * kChunk + pair);
    });
  };
  for (int pair = first / 2; pair < last / 2; ++pair) {
    prefetcher.issue();
    add(pair, _mm512_set1_epi32(-1));
  }
  // The last token's partner is none of ours, and need not even be a number.
  if (last % 2 == 1) add(last / 2, _mm512_set1_epi32(0xFFFF));
  each_vector<R, V>([&](int r, int v) DVLM_INLINE { _mm512_storeu_ps(output(r, v), sums[r][v]); });
}

template <int R>
void add_values(const uint32_t* weights, const ChunkBlocks& blocks, int first, int last, int padded,
                float* outputs, KvPrefetcher& prefetcher) {
  int column = 0;
  for (; column + 2 * kLanes <= padded; column += 2 * kLanes)
    add_columns<R, 2>(weights, blocks, first, last, padded, column, outputs, prefetcher);
  if (column < padded) add_columns<R, 1>(weights, blocks, first, last, padded, column, outputs, prefetcher);
}

// Queries [first, first + count) of the task, count <= R, over the chunk that begins at visible token
// `start`.
template <int R>
void tile_over_chunk(const AttentionTask& task, AttentionState& state, int first, int count, int start) {
  const HeadShape& shape = *task.shape;
  const int padded = shape.padded(), pairs = shape.head_dim / 2;
  const int blocks = blocks_for(std::min(kChunk, task.visible(first + count - 1) - start));
  const auto* queries = reinterpret_cast<const uint32_t*>(state.queries) +
                        static_cast<ptrdiff_t>(first / kTile) * kTile * pairs;
  const float factor = 1.44269504f / std::sqrt(static_cast<float>(shape.head_dim));
  ChunkBlocks chunk{{}, shape.key_bytes()};
  for (int b = 0; b < blocks; ++b) chunk.keys[b] = task.block(start / kKvBlock + b);
  KvPrefetcher values = prefetch_values(task, first, start), keys = prefetch_keys(task, first, start);
  int b = 0;
  for (; b + 2 <= blocks; b += 2)
    score_blocks<R, 2>(queries, chunk.keys + b, pairs, state.scores + b * kKvBlock, values);
  if (b < blocks) score_blocks<R, 1>(queries, chunk.keys + b, pairs, state.scores + b * kKvBlock, values);

  float* outputs = state.outputs + static_cast<ptrdiff_t>(first) * padded;
  const auto* weights = reinterpret_cast<const uint32_t*>(state.scores);
  int valid[R] = {}, fewest = kChunk, most = 0;
  for (int r = 0; r < R; ++r) {
    if (r < count) {
      valid[r] = std::clamp(task.visible(first + r) - start, 0, kChunk);
      fewest = std::min(fewest, valid[r]), most = std::max(most, valid[r]);
    }
    if (valid[r] == 0)
      std::fill_n(state.scores + r * kChunk, kChunk, 0.0f);
    else
      online_softmax(state.scores + r * kChunk, valid[r], factor, state.maxima[first + r],
                     state.sums[first + r], outputs + r * padded, padded);
  }
  const int shared = fewest == most ? most : fewest / 2 * 2;
  if (shared > 0) add_values<R>(weights, chunk, 0, shared, padded, outputs, keys);
  for (int r = 0; r < count; ++r) {  // tokens that not all rows of the tile see
    if (valid[r] > shared)
      add_values<1>(weights + r * kChunk, chunk, shared, valid[r], padded, outputs + r * padded, keys);
  }
}

void load_queries(const AttentionTask& task, AttentionState& state) {
  const HeadShape& shape = *task.shape;
  const int count = task.queries(), pairs = shape.head_dim / 2;
  for (int q = 0; q < (count + kTile - 1) / kTile * kTile; ++q) {
    auto* out = reinterpret_cast<uint32_t*>(state.queries) +
                static_cast<ptrdiff_t>(q / kTile) * kTile * pairs + q % kTile;
    const float* in = q < count ? task.query(q) : nullptr;
    for (int d = 0; d < pairs; ++d)
      out[d * kTile] = in ? to_bf16(in[2 * d]).bits | uint32_t{to_bf16(in[2 * d + 1]).bits} << 16 : 0;
    begin_query(task, state, q);
  }
}

}  // namespace

void avx512_bf16_attention(const AttentionTask& task, AttentionState& state) {
  load_queries(task, state);
  each_tile(task, [&]<int R>(int first, int count, int start) {
    tile_over_chunk<R>(task, state, first, count, start);
  });
  finish_queries(task, state);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
