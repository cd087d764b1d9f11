#include "kernels/attention.h"

#include "kernels/targets.h"
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>

#include "core/error.h"
#include "kernels/attention_task.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace dvlm {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using U = hn::RebindToUnsigned<F>;
using Vec = hn::Vec<F>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));

// A vector of one line of keys or values; bf16 stands in words of two lines, the even one in the low halves.
template <int kOdd>
HWY_INLINE Vec load(const float* line, int width, int at) {
  return hn::LoadU(F(), line + kOdd * width + at);
}
template <int kOdd>
HWY_INLINE Vec load(const uint16_t* line, int, int at) {
  const U u;
  const auto words = hn::LoadU(u, reinterpret_cast<const uint32_t*>(line) + at);
  return hn::BitCast(F(), kOdd ? hn::And(words, hn::Set(u, 0xFFFF0000u)) : hn::ShiftLeft<16>(words));
}

// scores[r][k] = queries[r] . keys[k] for one block. queries: [head_dim][kTile].
template <class T, int R>
HWY_INLINE void score_block(const float* queries, const T* keys, int head_dim, float* scores,
                            KvPrefetcher& prefetcher) {
  const F f;
  for (int k = 0; k < kKvBlock; k += kLanes) {
    Vec sums[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = hn::Zero(f);
    for (int d = 0; d < head_dim; d += 2) {
      prefetcher.issue();
      const Vec even = load<0>(keys + d * kKvBlock, kKvBlock, k),
                odd = load<1>(keys + d * kKvBlock, kKvBlock, k);
      const float* q = queries + d * kTile;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) sums[r] = hn::MulAdd(hn::Set(f, q[r]), even, sums[r]);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) sums[r] = hn::MulAdd(hn::Set(f, q[kTile + r]), odd, sums[r]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) hn::StoreU(sums[r], f, scores + r * kChunk + k);
  }
}

// outputs[r] += sum over keys [first, last) of weights[r][k] * values[k], ascending.
template <class T, int R>
HWY_INLINE void add_values(const float* weights, const T* values, int first, int last, int padded,
                           float* outputs, KvPrefetcher& prefetcher) {
  const F f;
  constexpr int kColumns =
      kLanes >= 16 ? 1 : 16 / kLanes / 2;  // vectors per step; `padded` is a multiple of 16
  for (int d = 0; d < padded; d += kColumns * kLanes) {
    Vec sums[R][kColumns];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) sums[r][c] = hn::LoadU(f, outputs + r * padded + d + c * kLanes);
    }
    const auto add = [&]<int kOdd>(int k) HWY_ATTR {
      Vec value[kColumns];
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c)
        value[c] = load<kOdd>(values + (k - kOdd) * padded, padded, d + c * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vec weight = hn::Set(f, weights[r * kChunk + k]);
#pragma GCC unroll 16
        for (int c = 0; c < kColumns; ++c) sums[r][c] = hn::MulAdd(weight, value[c], sums[r][c]);
      }
    };
    int k = first;
    if (k % 2 == 1 && k < last) add.template operator()<1>(k++);
    for (; k + 2 <= last; k += 2) {
      prefetcher.issue();
      add.template operator()<0>(k);
      add.template operator()<1>(k + 1);
    }
    if (k < last) add.template operator()<0>(k);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) hn::StoreU(sums[r][c], f, outputs + r * padded + d + c * kLanes);
    }
  }
}

// Turns the first `valid` scores of a chunk into weights exp(score - maximum), zero beyond, and rescales what
// the query has gathered so far.
HWY_INLINE void online_softmax(float* scores, int valid, float& maximum, float& sum, float* output,
                               int padded) {
  const F f;
  const Vec lowest = hn::Set(f, -std::numeric_limits<float>::infinity());
  Vec highest = lowest;
  for (int k = 0; k < valid; k += kLanes) {
    const auto real = hn::FirstN(f, static_cast<size_t>(std::min(kLanes, valid - k)));
    highest = hn::Max(highest, hn::IfThenElse(real, hn::LoadU(f, scores + k), lowest));
  }
  const float top = std::max(maximum, hn::GetLane(hn::MaxOfLanes(f, highest)));
  Vec total = hn::Zero(f);
  for (int k = 0; k < kChunk; k += kLanes) {
    const auto real = hn::FirstN(f, static_cast<size_t>(std::clamp(valid - k, 0, kLanes)));
    const Vec weight =
        hn::IfThenElseZero(real, hn::Exp(f, hn::Sub(hn::LoadU(f, scores + k), hn::Set(f, top))));
    hn::StoreU(weight, f, scores + k);
    total = hn::Add(total, weight);
  }
  const float scale = hn::GetLane(hn::Exp(f, hn::Set(f, maximum - top)));
  sum = sum * scale + hn::GetLane(hn::SumOfLanes(f, total));
  maximum = top;
  if (scale == 1.0f) return;
  for (int d = 0; d < padded; d += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(f, output + d), hn::Set(f, scale)), f, output + d);
  }
}

// Queries [first, first + count) of the task, count <= R, over the chunk that begins at visible token
// `start`.
template <class T, int R>
void tile_over_chunk(const AttentionTask& task, AttentionState& state, int first, int count, int start) {
  const HeadShape& shape = *task.shape;
  const int padded = shape.padded(), end = std::min(start + kChunk, task.visible(first + count - 1));
  const float* queries = state.queries + static_cast<ptrdiff_t>(first / kTile) * kTile * shape.head_dim;
  KvPrefetcher values_next = prefetch_values(task, first, start),
               keys_next = prefetch_keys(task, first, start);
  for (int b = start; b < end; b += kKvBlock) {
    const T* keys = reinterpret_cast<const T*>(task.block(b / kKvBlock));
    score_block<T, R>(queries, keys, shape.head_dim, state.scores + (b - start), values_next);
  }
  float* outputs = state.outputs + static_cast<ptrdiff_t>(first) * padded;
  int valid[R] = {}, common = kChunk;
  for (int r = 0; r < R; ++r) {
    if (r < count) valid[r] = std::clamp(task.visible(first + r) - start, 0, kChunk);
    if (valid[r] == 0) {
      std::fill_n(state.scores + r * kChunk, kChunk, 0.0f);
    } else {
      online_softmax(state.scores + r * kChunk, valid[r], state.maxima[first + r], state.sums[first + r],
                     outputs + r * padded, padded);
    }
    if (r < count) common = std::min(common, valid[r]);
  }
  for (int b = start; b < end; b += kKvBlock) {
    const T* values = reinterpret_cast<const T*>(task.block(b / kKvBlock)) + kKvBlock * shape.head_dim;
    const float* weights = state.scores + (b - start);
    const int shared = std::clamp(common - (b - start), 0, kKvBlock);
    if (shared > 0) add_values<T, R>(weights, values, 0, shared, padded, outputs, keys_next);
    for (int r = 0; r < count; ++r) {  // tokens that not all rows of the tile see
      const int last = std::clamp(valid[r] - (b - start), 0, kKvBlock);
      if (last > shared)
        add_values<T, 1>(weights + r * kChunk, values, shared, last, padded, outputs + r * padded, keys_next);
    }
  }
}

void load_queries(const AttentionTask& task, AttentionState& state) {
  const HeadShape& shape = *task.shape;
  const int count = task.queries();
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  for (int q = 0; q < AttentionState::query_capacity(shape); ++q) {
    float* out = state.queries + static_cast<ptrdiff_t>(q / kTile) * kTile * shape.head_dim + q % kTile;
    const float* in = q < count ? task.query(q) : nullptr;
    if (!in && q >= (count + kTile - 1) / kTile * kTile) break;
    for (int d = 0; d < shape.head_dim; ++d) out[d * kTile] = in ? in[d] * scale : 0.0f;
    std::fill_n(state.outputs + static_cast<ptrdiff_t>(q) * shape.padded(), shape.padded(), 0.0f);
    state.maxima[q] = -std::numeric_limits<float>::infinity();
    state.sums[q] = 0;
  }
}

template <class T>
void run_typed(const AttentionTask& task, AttentionState& state) {
  const HeadShape& shape = *task.shape;
  load_queries(task, state);
  each_tile(task, [&]<int R>(int first, int count, int start) {
    tile_over_chunk<T, R>(task, state, first, count, start);
  });
  for (int q = 0; q < task.queries(); ++q) {
    const float* output = state.outputs + static_cast<ptrdiff_t>(q) * shape.padded();
    float* out = task.query(q);
    for (int d = 0; d < shape.head_dim; ++d) out[d] = output[d] / state.sums[q];
  }
}

void run_attention(const AttentionTask& task, AttentionState& state) {
  (task.shape->format == KvType::f32 ? run_typed<float> : run_typed<uint16_t>)(task, state);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dvlm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dvlm {

HWY_EXPORT(run_attention);

namespace {

template <class T>
T stored(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else
    return to_bf16(value).bits;
}

// Line `line` of a KV block's keys or values, whose elements stand `step` apart.
template <class T>
struct Line {
  T* first;
  ptrdiff_t step;
  Line(T* lines, int width, int line) {
    constexpr int kTogether = std::is_same_v<std::remove_const_t<T>, float> ? 1 : 2;
    first = lines + static_cast<ptrdiff_t>(line / kTogether * kTogether) * width + line % kTogether;
    step = kTogether;
  }
  T& operator[](int at) const { return first[at * step]; }
};

template <class T>
void store_typed(const HeadShape& shape, std::byte* block, int slot, const float* key, const float* value) {
  T* keys = reinterpret_cast<T*>(block);
  const Line<T> values(keys + kKvBlock * shape.head_dim, shape.padded(), slot);
  for (int d = 0; d < shape.head_dim; ++d) {
    Line<T>(keys, kKvBlock, d)[slot] = stored<T>(key[d]);
    values[d] = stored<T>(value[d]);
  }
}

template <class T>
void copy_typed(const HeadShape& shape, const std::byte* from, std::byte* to, int first, int count) {
  const T* source = reinterpret_cast<const T*>(from);
  T* target = reinterpret_cast<T*>(to);
  const auto copy = [](Line<const T> a, Line<T> b, int begin, int end) {
    for (int i = begin; i < end; ++i) b[i] = a[i];
  };
  for (int d = 0; d < shape.head_dim; ++d)
    copy({source, kKvBlock, d}, {target, kKvBlock, d}, first, first + count);
  const int values = kKvBlock * shape.head_dim, padded = shape.padded();
  for (int slot = first; slot < first + count; ++slot)
    copy({source + values, padded, slot}, {target + values, padded, slot}, 0, padded);
}

constexpr double kFlopPerNanosecond = 30;  // rough, for one thread

int64_t count_tasks(const HeadShape& shape, std::span<const AttentionSegment> segments, int rows_per_task) {
  int64_t count = 0;
  for (const AttentionSegment& s : segments)
    count += int64_t{shape.kv_heads} * ((s.rows.count + rows_per_task - 1) / rows_per_task);
  return count;
}

}  // namespace

void highway_attention(const AttentionTask& task, AttentionState& state) {
  HWY_DYNAMIC_DISPATCH(run_attention)(task, state);
}

void store_kv_row(const HeadShape& shape, const KvBlocks& blocks, int head, int position, const float* key,
                  const float* value) {
  std::byte* block = blocks.block(shape, head, position / kKvBlock);
  const auto store = shape.format == KvType::f32 ? store_typed<float> : store_typed<uint16_t>;
  store(shape, block, position % kKvBlock, key, value);
}

void copy_kv(const HeadShape& shape, const std::byte* from, std::byte* to, int first, int count) {
  DVLM_ASSERT(first >= 0 && first + count <= kKvBlock);
  const auto copy = shape.format == KvType::f32 ? copy_typed<float> : copy_typed<uint16_t>;
  copy(shape, from, to, first, count);
}

void attention(const HeadShape& shape, std::span<const AttentionSegment> segments, AttentionScratch& scratch,
               ThreadPool& pool) {
  const size_t per_thread = (AttentionState::floats(shape) + 15) / 16 * 16;
  if (scratch.floats.size() < per_thread * pool.threads())
    scratch.floats = Buffer<float>(per_thread * pool.threads());
  DVLM_ASSERT(shape.head_dim % 2 == 0);
  const auto kernel = shape.format == KvType::bf16 ? current_isa().bf16_attention : highway_attention;
  int rows = std::max(1, kQueries / shape.group());  // per task
  while (rows > 1 && count_tasks(shape, segments, rows) < 2 * int64_t{pool.threads()}) rows /= 2;
  const int64_t tasks = count_tasks(shape, segments, rows);
  std::atomic<int64_t> next{0};
  double work = 0;
  for (const AttentionSegment& s : segments)
    work +=
        4.0 * s.rows.count * shape.heads * shape.padded() * (s.visible + 0.5 * s.visible_step * s.rows.count);
  // Threads take tasks as they come: later rows of causal segments cost more.
  auto take = [&](int thread) {
    AttentionState state(shape, scratch.floats.data() + per_thread * static_cast<size_t>(thread));
    int64_t first = 0;  // task number of the current segment's first task
    size_t at = 0;
    for (int64_t t = next++; t < tasks; t = next++) {
      const auto tasks_here = [&] { return count_tasks(shape, segments.subspan(at, 1), rows); };
      for (; t - first >= tasks_here(); ++at) first += tasks_here();
      const AttentionSegment& segment = segments[at];
      const int row = static_cast<int>((t - first) / shape.kv_heads) * rows;
      const AttentionTask task{&shape, &segment, static_cast<int>((t - first) % shape.kv_heads), row,
                               std::min(rows, segment.rows.count - row)};
      kernel(task, state);
    }
  };
  if (pool.threads() == 1 || tasks == 1 || work / kFlopPerNanosecond < kWorthSplitting)
    take(0);
  else
    pool.run(take);
}

}  // namespace dvlm
#endif  // HWY_ONCE
