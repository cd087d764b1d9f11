// Whole passes on the host's layer: against plain loops in double precision, and bit for bit against
// themselves cut, batched and beside others.
#include <gtest/gtest.h>

#include <cmath>

#include "tower_data.h"

namespace dvlm::test {
namespace {

struct Shape {
  int heads, kv_heads, dim, hidden, intermediate, vocab;
};
constexpr Shape kShapes[] = {
    {8, 2, 32, 256, 384, 500}, {14, 2, 64, 128, 256, 300}, {4, 2, 128, 128, 256, 300}};
constexpr int kPages = 16;

TowerData tower(const Shape& s, bool e4m3) {
  return random_tower(s.heads, s.kv_heads, s.dim, s.hidden, s.intermediate, s.vocab, 2, e4m3, 5);
}

SegmentData segment(int rows, int context, bool causal, int vocab, std::vector<int> pages, uint64_t seed) {
  std::mt19937_64 random(seed);
  SegmentData s;
  for (int i = 0; i < rows; ++i) {
    s.tokens.push_back(static_cast<int>(random() % static_cast<uint64_t>(vocab)));
    s.positions.push_back(context + i);
  }
  s.context = context, s.causal = causal, s.pages = std::move(pages);
  return s;
}

PassData every_row(std::vector<SegmentData> segments) {
  PassData pass{std::move(segments), {}};
  int rows = 0;
  for (const SegmentData& s : pass.segments) rows += static_cast<int>(s.tokens.size());
  for (int i = 0; i < rows; ++i) pass.wanted.push_back(i);
  return pass;
}

double distance(const std::vector<float>& is, const std::vector<float>& should) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < should.size(); ++i) {
    error += std::pow(static_cast<double>(is.at(i)) - static_cast<double>(should[i]), 2);
    norm += std::pow(static_cast<double>(should[i]), 2);
  }
  return std::sqrt(error / norm);
}

// A prompt, then a draft behind it beside the prompt of another sequence. Inputs of linear layers, keys,
// values and softmax weights are rounded to bf16 (2^-9 relative), ten times on a value's way through two
// layers; e4m3 inputs to 2^-4, four times.
TEST(Tower, agrees_with_plain_loops) {
  for (const Shape& shape : kShapes)
    for (const bool e4m3 : {false, true}) {
      const TowerData data = tower(shape, e4m3);
      const auto kernels = host_runner(data, kPages, 3), plain = plain_runner(data, kPages);
      const PassData prompt = every_row({segment(70, 0, true, shape.vocab, {3, 1, 5}, 1)}),
                     next = every_row({segment(11, 70, false, shape.vocab, {3, 1, 5}, 2),
                                       segment(5, 0, true, shape.vocab, {7}, 3)});
      const double bound = e4m3 ? 4 * 0x1p-5 : 10 * 0x1p-9;
      for (const PassData* pass : {&prompt, &next}) {
        const PassResult is = kernels->run(*pass), should = plain->run(*pass);
        EXPECT_LT(distance(is.logits, should.logits), bound);
        for (size_t i = 0; i < is.tokens.size() && !e4m3; ++i)
          EXPECT_NEAR(is.probabilities[i], should.probabilities[i], 0.1 * should.probabilities[i]);
      }
    }
}

TEST(Tower, a_prompt_cut_in_any_way_has_the_same_bits) {
  for (const Shape& shape : kShapes)
    for (const bool e4m3 : {false, true}) {
      const TowerData data = tower(shape, e4m3);
      const SegmentData whole = segment(150, 0, true, shape.vocab, {3, 1, 5}, 1);
      const std::vector<float> once = host_runner(data, kPages, 3)->run(every_row({whole})).logits;
      for (const std::vector<int>& cut : {std::vector{1, 7, 16, 9, 27, 40, 50}, {64, 64, 22}, {140, 10}}) {
        const auto runner = host_runner(data, kPages, 4);
        std::vector<float> logits;
        int at = 0;
        for (const int rows : cut) {
          const PassResult result = runner->run(every_row({part(whole, at, rows)}));
          logits.insert(logits.end(), result.logits.begin(), result.logits.end());
          at += rows;
        }
        EXPECT_EQ(logits, once);
      }
    }
}

TEST(Tower, neighbours_do_not_change_bits) {
  for (const bool e4m3 : {false, true}) {
    const TowerData data = tower(kShapes[0], e4m3);
    const SegmentData one = segment(6, 0, true, 500, {2}, 1);
    const std::vector<float> alone = host_runner(data, kPages, 3)->run(every_row({one})).logits;
    const std::vector<float> beside =
        host_runner(data, kPages, 5)
            ->run(every_row({segment(9, 0, true, 500, {4}, 2), one, segment(33, 0, false, 500, {1, 6}, 3)}))
            .logits;
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), beside.begin() + std::ptrdiff_t{9} * 500));
  }
}

// With room for fewer inputs in a block, layers go in tiles.
TEST(Tower, cards_with_little_shared_memory_have_the_same_bits) {
  constexpr size_t kLittle = size_t{56} << 10;
  for (const bool e4m3 : {false, true}) {
    const TowerData data = tower({8, 2, 32, 512, 384, 500}, e4m3);
    for (const int rows : {1, 8, 13, 31}) {
      const PassData pass = every_row({segment(rows, 0, true, 500, {2}, 1)});
      EXPECT_EQ(host_runner(data, kPages, 4, kLittle)->run(pass).logits,
                host_runner(data, kPages, 3)->run(pass).logits)
          << rows << " rows";
    }
  }
}

// Nine launches a layer in bf16: what a graph's nodes cost is part of the model of cost.
TEST(Tower, a_layer_is_nine_launches) {
  EXPECT_EQ(host_runner(tower(kShapes[2], false), kPages, 1)
                ->run(every_row({segment(1, 0, true, 300, {0}, 1)}))
                .launches,
            2 * 9 + 5);
}

}  // namespace
}  // namespace dvlm::test
