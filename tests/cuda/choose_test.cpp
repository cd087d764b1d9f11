// The chooser's kernels on the host's layer against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "choosing.h"
#include "cuda/layout.h"
#include "cuda/pass.h"
#include "model/choose.h"

namespace dvlm {
namespace {

const float kInf = std::numeric_limits<float>::infinity();

class OnHostLayer {
 public:
  // Rows of one pass.
  std::vector<Chosen> run(const std::vector<std::vector<float>>& rows, const std::vector<Wanted>& wanted) {
    const auto vocab = rows[0].size(), stride = vocab + 5;
    std::vector<float> logits;
    std::vector<cuda::RowWish> wishes;
    std::vector<uint64_t> masks;
    std::vector<cuda::RowChange> changes;
    std::vector<int> drawing;
    for (size_t i = 0; i < rows.size(); ++i) {
      logits.insert(logits.end(), rows[i].begin(), rows[i].end());
      logits.resize(logits.size() + stride - vocab, std::nanf(""));
      wishes.push_back(cuda::wish_of(wanted[i], masks, changes));
      if (wishes.back().sharpness > 0 || wishes.back().alternatives > 0)
        drawing.push_back(static_cast<int>(i));
    }
    std::vector<cuda::SliceBest> best(rows.size() * cuda::kSlices);
    std::vector<cuda::Chosen> chosen(rows.size());
    std::vector<cuda::Alternative> alternatives(rows.size() * cuda::kMaxAlternatives);
    const auto count = static_cast<unsigned>(rows.size());
    const int ids = static_cast<int>(vocab), width = static_cast<int>(stride);
    launcher_.launch<cuda::ChangeLogits>({count}, 0, {view(logits), view(wishes), view(changes), ids, width});
    launcher_.launch<cuda::ChooseInSlices>({cuda::kSlices, count}, cuda::ChooseInSlices::kSharedBytes,
                                           {view(logits), view(wishes), view(masks), view(best), ids, width});
    launcher_.launch<cuda::ChooseInRow>({count}, 0, {view(best), view(chosen)});
    if (!drawing.empty())
      launcher_.launch<cuda::DrawInRow>({static_cast<unsigned>(drawing.size())},
                                        cuda::DrawInRow::kSharedBytes,
                                        {view(logits), view(wishes), view(masks), view(drawing), view(chosen),
                                         view(alternatives), ids, width});
    std::vector<Chosen> out;
    for (size_t i = 0; i < rows.size(); ++i)
      out.push_back(cuda::answer_of(
          wanted[i], chosen[i],
          std::span(alternatives).subspan(i * cuda::kMaxAlternatives, cuda::kMaxAlternatives), rows[i]));
    return out;
  }
  Chosen one(const std::vector<float>& row, const Wanted& wanted) { return run({row}, {wanted})[0]; }

 private:
  template <class T>
  static cuda::Global<T> view(std::vector<T>& values) {
    return {values.data(), values.size()};
  }
  cuda::HostLauncher launcher_;
};

void expect_reference(const Chosen& found, const std::vector<float>& row, const Wanted& wanted) {
  const Chosen expected = choose(row, wanted);
  EXPECT_EQ(found.fault, expected.fault);
  EXPECT_EQ(found.token, expected.token);
  EXPECT_NEAR(found.probability, expected.probability, 1e-5 * static_cast<double>(expected.probability));
  EXPECT_NEAR(found.logprob, expected.logprob, 2e-5);
  ASSERT_EQ(found.top.size(), expected.top.size());
  for (size_t i = 0; i < found.top.size(); ++i) {
    EXPECT_EQ(found.top[i].first, expected.top[i].first) << i;
    EXPECT_NEAR(found.top[i].second, expected.top[i].second, 2e-5);
  }
}

std::vector<float> random_row(Random& random, size_t vocab, bool coarse) {
  std::vector<float> row(vocab);
  for (float& v : row)
    v = static_cast<float>(coarse ? std::floor(random.between(-3, 3)) : random.between(-8, 8));
  return row;
}

TEST(ChooseOnCard, answers_as_the_reference_does) {
  OnHostLayer layer;
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    const auto vocab = static_cast<size_t>(1 + random.below(i % 3 == 0 ? 40 : 3000));
    const bool coarse = i % 2 == 0;  // many equal logits
    std::vector<std::vector<float>> rows;
    std::vector<Wanted> wanted;
    std::vector<uint64_t> allowed((vocab + 63) / 64);
    for (uint64_t& word : allowed) word = static_cast<uint64_t>(random.below(int64_t{1} << 62)) * 4 + 1;
    const std::vector<LogitChange> changes = random_changes(random, vocab);
    for (int r = 0; r < 3; ++r) {
      rows.push_back(random_row(random, vocab, coarse));
      Wanted one{
          .choice = random.below(3) == 0 ? Choice::greedy : Choice::draw,
          .temperature = random.between(0.2, 3),
          .top_k = static_cast<int>(random.below(2) * random.below(60)),
          .top_p = random.below(2) == 0 ? 1 : random.between(0.05, 1),
          .u = random.uniform(),
          .excluded = {static_cast<TokenId>(random.below(static_cast<int64_t>(vocab) + 1)) - 1,
                       static_cast<int>(random.below(2) * random.below(static_cast<int64_t>(vocab) + 1))},
          .alternatives = static_cast<int>(random.below(8)) - 1};
      if (random.below(3) == 0) one.allowed = allowed;
      if (random.below(3) == 0) one.changes = changes;
      wanted.push_back(one);
    }
    const std::vector<Chosen> found = layer.run(rows, wanted);
    for (size_t r = 0; r < rows.size(); ++r) {
      SCOPED_TRACE(testing::Message() << "case " << i << ", row " << r << ", vocab " << vocab);
      expect_reference(found[r], rows[r], wanted[r]);
    }
  }
}

TEST(ChooseOnCard, draws_the_golden_tokens) {
  OnHostLayer layer;
  GoldenDraws::expect(
      [&](const std::vector<float>& row, const Wanted& wanted) { return layer.one(row, wanted); });
}

TEST(ChooseOnCard, odd_rows_are_told_as_the_reference_tells_them) {
  OnHostLayer layer;
  const Wanted greedy{.alternatives = 2},
      draw{.choice = Choice::draw, .temperature = 0.7, .top_p = 0.9, .u = 0.4, .alternatives = 2};
  std::vector<float> row(100, 0.0f);
  for (const Wanted& wanted : {greedy, draw}) {
    expect_reference(layer.one(row, wanted), row, wanted);
    row[7] = kInf, row[60] = kInf;
    expect_reference(layer.one(row, wanted), row, wanted);
    row.assign(100, -kInf);
    EXPECT_EQ(layer.one(row, wanted).fault, RowFault::empty);
    row[50] = 1;
    expect_reference(layer.one(row, wanted), row, wanted);
    row[3] = std::nanf("");
    EXPECT_EQ(layer.one(row, wanted).fault, RowFault::nan);
    row.assign(100, 0.0f);
    row[1] = -0.0f;
    expect_reference(layer.one(row, wanted), row, wanted);
    Wanted nothing = wanted;
    nothing.excluded = {0, 1};
    EXPECT_EQ(layer.one(row, nothing).fault, RowFault::empty);
    row.assign(100, 0.0f);
  }
}

}  // namespace
}  // namespace dvlm
