#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/types.h"
#include "kernels/attention_task.h"
#include "kernels/isas.h"
#include "kernels/random_values.h"
#include "kernels/reference.h"

namespace dvlm {
namespace {

// Blocks and the pages that they stand in.
struct Stored {
  std::vector<std::vector<std::byte>> pages;
  std::vector<std::byte*> table;
  KvBlocks blocks;
};

// Tokens with random keys and values, and rows of queries over them.
struct AttentionCase {
  HeadShape shape;
  int tokens, rows;
  std::vector<float> keys, values, queries;  // [tokens, kv_heads, dim] twice, [rows, heads, dim]

  AttentionCase(HeadShape s, int token_count, int row_count)
      : shape(s),
        tokens(token_count),
        rows(row_count),
        keys(random_values(size_t(tokens) * size_t(s.kv_heads * s.head_dim), 1)),
        values(random_values(keys.size(), 2)),
        queries(random_values(size_t(rows) * size_t(s.heads * s.head_dim), 3)) {}

  // Kernels with bf16 dot products round queries and softmax weights as well.
  bool rounds_queries() const {
    return shape.format == KvType::bf16 && current_isa().bf16_attention != highway_attention;
  }

  const float* key(int token, int head) const {
    return keys.data() + (token * shape.kv_heads + head) * shape.head_dim;
  }
  const float* value(int token, int head) const {
    return values.data() + (token * shape.kv_heads + head) * shape.head_dim;
  }

  // Tokens [first, last) stored at their number minus `base`, in pages of `page_blocks`.
  Stored stored(int first, int last, int base, int page_blocks) const {
    const int count = blocks_for(last - base), pages = (count + page_blocks - 1) / page_blocks;
    const size_t stride = shape.block_bytes() * size_t(std::min(page_blocks, count));
    Stored out;
    for (int i = 0; i < pages; ++i)  // not a number where nothing is stored
      out.pages.emplace_back(stride * size_t(shape.kv_heads), std::byte{0x7F});
    for (auto& page : out.pages) out.table.push_back(page.data());
    out.blocks = {.pages = out.table.data(), .offset = 0, .head_stride = stride, .page_blocks = page_blocks};
    for (int h = 0; h < shape.kv_heads; ++h)
      for (int t = first; t < last; ++t) store_kv_row(shape, out.blocks, h, t - base, key(t, h), value(t, h));
    return out;
  }

  // Rows [first, first + count) with everything in one place, or with all but whole blocks of `context`
  // elsewhere, in small pages.
  std::vector<float> run(int first, int count, int visible, int step, int context, ThreadPool& pool) const {
    const int width = shape.heads * shape.head_dim, split = context / kKvBlock;
    std::vector<float> q(queries.begin() + first * width, queries.begin() + (first + count) * width);
    const Stored cache = stored(0, context, 0, 2),
                 own = stored(split * kKvBlock, tokens, split * kKvBlock, 1 << 20);
    const AttentionSegment segment{.rows = {q.data(), size_t(width), count},
                                   .cache = cache.blocks,
                                   .cache_blocks = split,
                                   .own = own.blocks,
                                   .visible = visible + first * step,
                                   .visible_step = step};
    AttentionScratch scratch;
    attention(shape, {&segment, 1}, scratch, pool);
    return q;
  }

  // The reference's output with `use` applied to every stored value.
  template <class Use>
  std::vector<float> expected(int visible, int step, const Use& use) const {
    std::vector<float> out(queries.size()), asked = queries;
    if (rounds_queries())
      for (float& q : asked) q = round_to_bf16(q);
    for (int r = 0; r < rows; ++r) {
      for (int h = 0; h < shape.heads; ++h) {
        std::vector<float> k, v;
        for (int t = 0; t < visible + r * step; ++t) {
          for (int d = 0; d < shape.head_dim; ++d) {
            const float a = key(t, h / shape.group())[d], b = value(t, h / shape.group())[d];
            k.push_back(shape.format == KvType::bf16 ? round_to_bf16(a) : a);
            v.push_back(use(shape.format == KvType::bf16 ? round_to_bf16(b) : b));
          }
        }
        const size_t at = size_t(r * shape.heads + h) * size_t(shape.head_dim), n = size_t(shape.head_dim);
        reference::attention(std::span(asked).subspan(at, n), k, v, std::span(out).subspan(at, n));
      }
    }
    return out;
  }
};

const HeadShape kShapes[] = {{4, 2, 12, KvType::f32},    {8, 1, 8, KvType::bf16},  {3, 3, 80, KvType::f32},
                             {16, 2, 128, KvType::bf16}, {6, 2, 20, KvType::bf16}, {2, 1, 256, KvType::f32},
                             {40, 1, 16, KvType::f32}};

class Attention : public testing::TestWithParam<std::string> {
 protected:
  Attention() { force_isa(GetParam()); }
  ~Attention() override { force_isa(""); }
};

INSTANTIATE_TEST_SUITE_P(EachIsa, Attention, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

TEST_P(Attention, agrees_with_the_reference) {
  ThreadPool pool(2);
  for (const HeadShape& shape : kShapes) {
    for (int rows : {1, 2, 9, 33}) {
      for (int before : {0, 1, 15, 63, 64, 130}) {
        const AttentionCase given(shape, before + rows, rows);
        for (int step : {0, 1}) {
          const int visible = step ? before + 1 : before + rows;
          const std::vector<float> y = given.run(0, rows, visible, step, before, pool),
                                   e = given.expected(visible, step, [](float v) { return v; }),
                                   size = given.expected(visible, step, [](float v) { return std::abs(v); });
          // A rounded weight is at most 2^-9 of itself away, and so is the sum of all of them.
          const float rounding = given.rounds_queries() ? 0x1p-8f : 0;
          for (size_t i = 0; i < y.size(); ++i) {
            ASSERT_NEAR(y[i], e[i], 2e-5f + rounding * size[i])
                << shape.head_dim << " wide, " << rows << " rows after " << before;
          }
        }
      }
    }
  }
}

TEST_P(Attention, bits_do_not_depend_on_where_keys_stand_or_on_other_rows_or_threads) {
  ThreadPool one(1), two(2);
  for (const HeadShape& shape : kShapes) {
    const int rows = 37, before = 90, width = shape.heads * shape.head_dim;
    const AttentionCase given(shape, before + rows, rows);
    const std::vector<float> together = given.run(0, rows, before + 1, 1, before, one);
    EXPECT_EQ(given.run(0, rows, before + 1, 1, before, two), together);
    for (int context : {0, 1, 16, 64, 89, 90})
      EXPECT_EQ(given.run(0, rows, before + 1, 1, context, two), together);
    for (int count : {1, 2, 3, 5, 8}) {
      for (int first : {0, 3, rows - count}) {
        const std::vector<float> some = given.run(first, count, before + 1, 1, before, two);
        ASSERT_EQ(std::memcmp(some.data(), together.data() + first * width, some.size() * 4), 0)
            << shape.head_dim << " wide, rows " << first << " + " << count;
      }
    }
  }
}

TEST_P(Attention, copied_keys_are_the_same_keys) {
  for (const HeadShape& shape : kShapes) {
    const AttentionCase given(shape, 16, 1);
    const Stored from = given.stored(0, 16, 0, 1), direct = given.stored(0, 16, 0, 1);
    std::vector<std::byte> all(shape.block_bytes());
    copy_kv(shape, from.blocks.block(shape, 0, 0), all.data(), 0, 5);
    copy_kv(shape, from.blocks.block(shape, 0, 0), all.data(), 5, 11);
    const std::byte* expected = direct.blocks.block(shape, 0, 0);
    const auto keys = shape.element() * size_t(16 * shape.head_dim);
    EXPECT_EQ(std::memcmp(all.data(), expected, keys), 0);
    const int n = shape.head_dim;
    for (int t = 0; t < 16; ++t) {
      const size_t at = keys + shape.element() * size_t(t * shape.padded());
      EXPECT_EQ(std::memcmp(all.data() + at, expected + at, shape.element() * size_t(n)), 0);
    }
  }
}

}  // namespace
}  // namespace dvlm
