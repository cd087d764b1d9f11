// Attention of small shapes on every instruction set that this machine has, against the scalar one.
#include "kernels/attention.h"

#include <cmath>

#include "core/types.h"
#include "fuzzing.h"
#include "kernels/attention_task.h"
#include "kernels/isas.h"
#include "kernels/random_values.h"
#include "plain_isa.h"

namespace {

using namespace dvlm;

struct Case {
  HeadShape shape;
  int cached, rows, step;  // tokens in whole blocks of the cache, rows behind them, 1 for causal ones
  std::vector<float> keys, values, queries;
};

Case case_of(fuzz::Input& input) {
  const int kv_heads = 1 + static_cast<int>(input.below(3)), group = 1 + static_cast<int>(input.below(9));
  Case out{{kv_heads * group, kv_heads, 2 + 2 * static_cast<int>(input.below(70)),
            input.below(2) ? KvType::bf16 : KvType::f32},
           kKvBlock * static_cast<int>(input.below(10)),
           1 + static_cast<int>(input.below(20)),
           static_cast<int>(input.below(2)),
           {},
           {},
           {}};
  const auto dim = static_cast<size_t>(out.shape.head_dim),
             tokens = static_cast<size_t>(out.cached + out.rows) * static_cast<size_t>(kv_heads);
  const double scale = std::ldexp(1.0, static_cast<int>(input.below(4)) - 2);
  out.keys = random_values(tokens * dim, input.number(2), scale);
  out.values = random_values(tokens * dim, input.number(2));
  out.queries = random_values(static_cast<size_t>(out.rows * out.shape.heads) * dim, input.number(2));
  return out;
}

std::vector<std::byte> stored(const Case& given, int first, int last) {
  const HeadShape& shape = given.shape;
  const size_t stride = shape.block_bytes() * static_cast<size_t>(std::max(1, blocks_for(last - first)));
  std::vector<std::byte> page(stride * static_cast<size_t>(shape.kv_heads));
  std::byte* const begin = page.data();
  const KvBlocks blocks{.pages = &begin, .offset = 0, .head_stride = stride};
  for (int h = 0; h < shape.kv_heads; ++h)
    for (int t = first; t < last; ++t) {
      const size_t at = static_cast<size_t>(t * shape.kv_heads + h) * static_cast<size_t>(shape.head_dim);
      store_kv_row(shape, blocks, h, t - first, given.keys.data() + at, given.values.data() + at);
    }
  return page;
}

std::vector<float> run(const Case& given, std::string_view isa, ThreadPool& pool) {
  force_isa(isa);
  const HeadShape& shape = given.shape;
  std::vector<std::byte> cache = stored(given, 0, given.cached),
                         own = stored(given, given.cached, given.cached + given.rows);
  std::byte* const pages[] = {cache.data(), own.data()};
  const auto heads = static_cast<size_t>(shape.kv_heads);
  std::vector<float> q = given.queries;
  const AttentionSegment segment{
      .rows = {q.data(), static_cast<size_t>(shape.heads * shape.head_dim), given.rows},
      .cache = {.pages = &pages[0], .offset = 0, .head_stride = cache.size() / heads},
      .cache_blocks = given.cached / kKvBlock,
      .own = {.pages = &pages[1], .offset = 0, .head_stride = own.size() / heads},
      .visible = given.step ? given.cached + 1 : given.cached + given.rows,
      .visible_step = given.step};
  AttentionScratch scratch;
  attention(shape, {&segment, 1}, scratch, pool);
  return q;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ThreadPool pool(1);
  static const std::vector<std::string> sets = isas();
  fuzz::Input input(data, size);
  const Case given = case_of(input);
  const std::vector<float> expected = run(given, fuzz::plain_isa(), pool);
  float largest = 0;
  for (const float value : given.values) largest = std::max(largest, std::abs(value));
  for (const std::string& isa : sets) {
    const std::vector<float> y = run(given, isa, pool);
    // Kernels with dot products of bf16 round queries and softmax weights to bf16.
    const bool rounds =
        given.shape.format == KvType::bf16 && current_isa().bf16_attention != highway_attention;
    const float most = 4e-5f + (rounds ? 0x1p-5f * largest : 0);
    for (size_t i = 0; i < y.size(); ++i) DVLM_ASSERT(std::abs(y[i] - expected[i]) <= most);
  }
  return 0;
}
