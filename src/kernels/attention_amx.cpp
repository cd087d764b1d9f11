// Attention over keys in bf16 on AMX's tiles: 16 queries by 16 keys (or columns of values) by 32 dimensions
// (or tokens) an instruction. Queries and softmax weights are rounded to bf16; scores, sums and outputs are
// f32.
#include "kernels/attention_avx512.h"

#if defined(__x86_64__)
#include <cstring>

#include "kernels/tile_unit.h"

DVLM_PUSH_AVX512

namespace dvlm {

namespace {

constexpr int kTogether = 2 * kTileRows;  // queries that meet a tile of keys while it is loaded
constexpr int kWords = kTileBytes / 4;    // of a tile's row: pairs of bf16
constexpr size_t kKeyLine = kKvBlock * 4;

// Tiles 0 to 3 hold sums, [16 queries][2 neighbouring columns of 16]; 4 and 5 queries or weights; 6 and 7
// keys or values.
template <class Unit>
struct Multiplication {
  bool lower;  // more than 16 queries
  bool right;  // two columns of tiles

  static void configure(int queries) {
    TileShapes shapes;
    const int upper = std::min(kTileRows, queries), lower = queries > kTileRows ? queries - kTileRows : upper;
    shapes.set(0, upper), shapes.set(1, upper), shapes.set(2, lower), shapes.set(3, lower);
    shapes.set(4, upper), shapes.set(5, lower), shapes.set(6, kTileRows), shapes.set(7, kTileRows);
    Unit::configure(shapes);
  }
  static void zero() {
    Unit::template zero<0>(), Unit::template zero<1>(), Unit::template zero<2>(), Unit::template zero<3>();
  }
  // `sums`: of the first query and column; queries stand `stride` floats apart.
  void load(const float* sums, int stride) const {
    const size_t bytes = static_cast<size_t>(stride) * sizeof(float);
    const float* below = sums + static_cast<ptrdiff_t>(kTileRows) * stride;
    Unit::template load<0>(sums, bytes);
    if (right) Unit::template load<1>(sums + 16, bytes);
    if (lower) Unit::template load<2>(below, bytes);
    if (lower && right) Unit::template load<3>(below + 16, bytes);
  }
  void store(float* sums, int stride) const {
    const size_t bytes = static_cast<size_t>(stride) * sizeof(float);
    float* below = sums + static_cast<ptrdiff_t>(kTileRows) * stride;
    Unit::template store<0>(sums, bytes);
    if (right) Unit::template store<1>(sums + 16, bytes);
    if (lower) Unit::template store<2>(below, bytes);
    if (lower && right) Unit::template store<3>(below + 16, bytes);
  }
  // `x`: words of the first query, `stride` words from one to the next; `first`, `second`: 16 lines of words,
  // `line` bytes apart, of each column.
  void multiply(const float* x, int stride, const void* first, const void* second, size_t line) const {
    const size_t bytes = static_cast<size_t>(stride) * sizeof(float);
    Unit::template load<4>(x, bytes);
    Unit::template load<6>(first, line);
    Unit::template multiply_bf16<0, 4, 6>();
    if (right) {
      Unit::template load<7>(second, line);
      Unit::template multiply_bf16<1, 4, 7>();
    }
    if (!lower) return;
    Unit::template load<5>(x + static_cast<ptrdiff_t>(kTileRows) * stride, bytes);
    Unit::template multiply_bf16<2, 5, 6>();
    if (right) Unit::template multiply_bf16<3, 5, 7>();
  }
};

void prefetch(KvPrefetcher& prefetcher) {
  for (int i = 0; i < 16; ++i) prefetcher.issue();  // a share that brings all in time for head_dim 128
}

// Up to kTogether queries of a task, chunk by chunk.
template <class Unit>
class QueryTiles {
 public:
  QueryTiles(const AttentionTask& task, AttentionState& state, int first, int count)
      : task_(task),
        state_(state),
        first_(first),
        count_(count),
        padded_(task.shape->padded()),
        steps_((task.shape->head_dim / 2 + kWords - 1) / kWords),
        lines_in_rest_(task.shape->head_dim / 2 % kWords),
        factor_(1.44269504f / std::sqrt(static_cast<float>(task.shape->head_dim))) {
    std::fill_n(state.keys, kChunk * 16, 0.0f);
  }

  void run() {
    Multiplication<Unit>::configure(count_);
    const int visible = task_.visible(first_ + count_ - 1);
    for (int start = 0; start < visible; start += kChunk) {
      const int tokens = std::min(kChunk, visible - start);
      score(start, blocks_for(tokens));
      for (int q = first_; q < first_ + count_; ++q) weigh(q, start);
      gather_values(start, tokens);
      add_values(start, (tokens + 31) / 32);
    }
    Unit::release();
  }

 private:
  float* scores(int q) const { return state_.scores + static_cast<ptrdiff_t>(q) * kChunk; }
  float* output(int q) const { return state_.outputs + static_cast<ptrdiff_t>(q) * padded_; }

  // Keys of a block, dimensions [32 step, 32 step + 32). What lies behind the last dimension would be values.
  const std::byte* keys(const std::byte* block, int number, int step) const {
    const std::byte* lines = block + static_cast<size_t>(step) * kTileRows * kKeyLine;
    if (step + 1 < steps_ || lines_in_rest_ == 0) return lines;
    auto* rest =
        reinterpret_cast<std::byte*>(state_.keys) + static_cast<size_t>(number) * kTileRows * kKeyLine;
    std::memcpy(rest, lines, static_cast<size_t>(lines_in_rest_) * kKeyLine);
    return rest;
  }

  void score(int start, int blocks) const {
    KvPrefetcher values = prefetch_values(task_, first_, start);
    const auto* queries = state_.queries + static_cast<ptrdiff_t>(first_) * steps_ * kWords;
    for (int b = 0; b < blocks; b += 2) {
      const Multiplication<Unit> tiles{count_ > kTileRows, b + 1 < blocks};
      const std::byte* one = task_.block(start / kKvBlock + b);
      const std::byte* two = tiles.right ? task_.block(start / kKvBlock + b + 1) : one;
      tiles.zero();
      for (int step = 0; step < steps_; ++step) {
        prefetch(values);
        tiles.multiply(queries + step * kWords, steps_ * kWords, keys(one, b, step), keys(two, b + 1, step),
                       kKeyLine);
      }
      tiles.store(scores(first_) + b * kKvBlock, kChunk);
    }
  }

  // Scores of a query become weights.
  void weigh(int q, int start) const {
    const int valid = std::clamp(task_.visible(q) - start, 0, kChunk);
    if (valid == 0)
      std::fill_n(scores(q), kChunk, 0.0f);
    else
      online_softmax(scores(q), valid, factor_, state_.maxima[q], state_.sums[q], output(q), padded_);
  }

  // Copies the values of a chunk's tokens into one piece. What follows them becomes zero: it meets weights of
  // zero, but need not even be a number.
  void gather_values(int start, int tokens) const {
    const size_t line = static_cast<size_t>(padded_) * 4;
    auto* to = reinterpret_cast<std::byte*>(state_.values);
    for (int b = 0; b * kKvBlock < tokens; ++b) {
      const int pairs = std::min(kKvBlock, tokens - b * kKvBlock + 1) / 2;
      std::memcpy(to + static_cast<size_t>(b) * kKvBlock / 2 * line,
                  task_.block(start / kKvBlock + b) + task_.shape->key_bytes(),
                  static_cast<size_t>(pairs) * line);
    }
    const int pairs = (tokens + 1) / 2, all = (tokens + 31) / 32 * 16;
    std::memset(to + static_cast<size_t>(pairs) * line, 0, static_cast<size_t>(all - pairs) * line);
    if (tokens % 2 == 0) return;
    auto* words = reinterpret_cast<uint32_t*>(to + static_cast<size_t>(pairs - 1) * line);
    for (int d = 0; d < padded_; ++d) words[d] &= 0xFFFF;
  }

  // outputs += weights x values, 32 tokens a step.
  void add_values(int start, int steps) const {
    KvPrefetcher next = prefetch_keys(task_, first_, start);
    for (int column = 0; column < padded_; column += 32) {
      const Multiplication<Unit> tiles{count_ > kTileRows, column + 16 < padded_};
      tiles.load(output(first_) + column, padded_);
      for (int step = 0; step < steps; ++step) {
        prefetch(next);
        const float* values = state_.values + static_cast<ptrdiff_t>(step) * kTileRows * padded_ + column;
        tiles.multiply(scores(first_) + step * kWords, kChunk, values, values + 16,
                       static_cast<size_t>(padded_) * 4);
      }
      tiles.store(output(first_) + column, padded_);
    }
  }

  const AttentionTask& task_;
  AttentionState& state_;
  int first_, count_, padded_, steps_, lines_in_rest_;
  float factor_;
};

// Rows of pairs in whole tiles, zero behind the last dimension.
void load_queries(const AttentionTask& task, AttentionState& state) {
  const int head_dim = task.shape->head_dim, words = (head_dim / 2 + kWords - 1) / kWords * kWords;
  for (int q = 0; q < task.queries(); ++q) {
    auto* out = reinterpret_cast<__m256i*>(state.queries + static_cast<ptrdiff_t>(q) * words);
    const float* in = task.query(q);
    for (int d = 0; d < 2 * words; d += kLanes, ++out) {
      const __m512 values = _mm512_maskz_loadu_ps(lanes_before(head_dim, d), in + d);
      _mm256_store_si256(out, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
    }
    begin_query(task, state, q);
  }
}

template <class Unit>
void run_on(const AttentionTask& task, AttentionState& state) {
  load_queries(task, state);
  for (int first = 0; first < task.queries(); first += kTogether)
    QueryTiles<Unit>(task, state, first, std::min(kTogether, task.queries() - first)).run();
  finish_queries(task, state);
}

}  // namespace

void amx_attention(const AttentionTask& task, AttentionState& state) {
  run_on<HardwareTiles>(task, state);
}
void emulated_amx_attention(const AttentionTask& task, AttentionState& state) {
  run_on<EmulatedTiles>(task, state);
}

}  // namespace dvlm

HWY_POP_ATTRIBUTES
#endif
