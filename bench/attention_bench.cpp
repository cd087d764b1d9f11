// Attention of the 3B text tower's heads over a long cache, one layer after the other (rates.h).
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "core/memory.h"
#include "core/random.h"
#include "kernels/attention.h"
#include "rates.h"

namespace dvlm {
namespace {

// A layer's cache in one page, filled with one small key and value.
struct Cache {
  Buffer<float> space;
  std::byte* page;
  KvBlocks blocks;

  Cache(const HeadShape& shape, int tokens)
      : space(shape.block_bytes() * static_cast<size_t>(blocks_for(tokens) * shape.kv_heads) / sizeof(float)),
        page(reinterpret_cast<std::byte*>(space.data())) {
    const size_t stride = shape.block_bytes() * static_cast<size_t>(blocks_for(tokens));
    blocks = {.pages = &page, .offset = 0, .head_stride = stride};
    Random random(1);
    std::vector<float> value(static_cast<size_t>(shape.head_dim));
    for (float& v : value) v = static_cast<float>(random.normal());
    for (int h = 0; h < shape.kv_heads; ++h)
      for (int t = 0; t < tokens; ++t) store_kv_row(shape, blocks, h, t, value.data(), value.data());
  }
};

void BM_Attention(benchmark::State& state, KvType format) {
  const int rows = static_cast<int>(state.range(0)), context = static_cast<int>(state.range(1));
  const HeadShape shape{.heads = 16, .kv_heads = 2, .head_dim = 128, .format = format};
  std::vector<std::unique_ptr<Cache>> layers;
  layers.reserve(36);
  for (int i = 0; i < 36; ++i) layers.push_back(std::make_unique<Cache>(shape, context + rows));
  const size_t width = static_cast<size_t>(shape.heads) * static_cast<size_t>(shape.head_dim);
  std::vector<float> q(static_cast<size_t>(rows) * width, 0.5f);
  AttentionScratch scratch;
  size_t at = 0;
  for (auto _ : state) {
    std::fill(q.begin(), q.end(), 0.5f);
    const AttentionSegment segment{.rows = {q.data(), width, rows},
                                   .cache = layers[at++ % layers.size()]->blocks,
                                   .cache_blocks = blocks_for(context + rows),
                                   .own = {},
                                   .visible = context + 1,
                                   .visible_step = 1};
    attention(shape, {&segment, 1}, scratch, pool());
  }
  const double bytes =
      static_cast<double>(shape.element()) * 2 * shape.kv_heads * shape.head_dim * (context + rows);
  const double flop = 4.0 * rows * shape.heads * shape.head_dim * (context + 0.5 * rows);
  report_rates(state, bytes, flop);
}

BENCHMARK_CAPTURE(BM_Attention, bf16, KvType::bf16)->ArgsProduct({{1, 8, 32}, {1024, 8192}})->UseRealTime();

}  // namespace
}  // namespace dvlm
