// The chooser of the CPU against the reference, on every instruction set.
#include "native/chooser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "choosing.h"
#include "kernels/isas.h"
#include "model/choose.h"

namespace dvlm {
namespace {

const float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

class OnEveryIsa : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_isa(GetParam()); }
  void TearDown() override { force_isa(""); }

  // Rows of one pass, as the head gives them: whole, or piece by piece.
  std::vector<Chosen> run(std::vector<std::vector<float>> rows, const std::vector<Wanted>& wanted) {
    const auto vocab = static_cast<int>(rows[0].size());
    const bool streams = Chooser::streams(wanted);
    const auto width = static_cast<size_t>(streams ? std::min(vocab, Chooser::kPiece) : vocab);
    buffer_.assign(rows.size() * width, 0);
    chooser_.begin(wanted);
    const int count = static_cast<int>(rows.size());
    const Rows whole{buffer_.data(), width, count};
    for (int i = 0; i < count && !streams; ++i) std::copy(rows[i].begin(), rows[i].end(), whole.row(i));
    for (int first = 0; first < vocab; first += Chooser::kPiece) {
      const int ids = std::min(Chooser::kPiece, vocab - first);
      for (int i = 0; i < count && streams; ++i) std::copy_n(rows[i].begin() + first, ids, whole.row(i));
      chooser_.look({whole.data + (streams ? 0 : first), width, count}, first, ids);
    }
    const auto chosen = chooser_.finish(streams ? Rows{} : whole, vocab);
    return {chosen.begin(), chosen.end()};
  }
  Chosen one(const std::vector<float>& row, const Wanted& wanted) { return run({row}, {wanted})[0]; }

  void expect_reference(const std::vector<float>& row, const Wanted& wanted) {
    const Chosen found = one(row, wanted), expected = choose(row, wanted);
    EXPECT_EQ(found.fault, expected.fault);
    EXPECT_EQ(found.token, expected.token);
    if (wanted.choice == Choice::draw || wanted.probability) {
      EXPECT_NEAR(found.probability, expected.probability, 1e-5 * expected.probability);
    }
    EXPECT_NEAR(found.logprob, expected.logprob, 1e-5 + 1e-6 * std::abs(expected.logprob));
    ASSERT_EQ(found.top.size(), expected.top.size());
    for (size_t i = 0; i < found.top.size(); ++i) {
      EXPECT_EQ(found.top[i].first, expected.top[i].first) << i;
      EXPECT_NEAR(found.top[i].second, expected.top[i].second,
                  1e-5 + 1e-6 * std::abs(expected.top[i].second));
    }
  }

  ThreadPool pool_{2};
  Chooser chooser_{pool_};
  std::vector<float> buffer_;  // Chosen::logits view it
};

std::vector<float> random_row(int vocab, uint64_t seed, float spread, float grain = 0) {
  std::vector<float> row;
  Random random(seed);
  for (int i = 0; i < vocab; ++i) {
    const float x = static_cast<float>(random.normal()) * spread;
    row.push_back(grain > 0 ? std::round(x / grain) * grain : x);
  }
  return row;
}

TEST_P(OnEveryIsa, draws_the_golden_texts) {
  GoldenDraws::expect([&](const std::vector<float>& row, const Wanted& wanted) { return one(row, wanted); });
}

TEST_P(OnEveryIsa, chooses_what_the_reference_chooses) {
  std::vector<uint64_t> mask(600);
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 == 0 ? ~uint64_t{0} : philox(1, 2, i)[0];
  int index = 0;
  for (const int vocab : {1, 7, 64, 1000, 8192, 8193, 20'000, 40'000}) {
    for (const float spread : {0.01f, 1.0f, 8.0f, 1e6f}) {
      for (const float grain : {0.0f, 0.5f}) {  // many equals
        const std::vector<float> row = random_row(vocab, static_cast<uint64_t>(++index), spread, grain);
        Wanted wanted{.excluded = {index % 4 ? vocab / 3 + 1 : -1, index % 3 ? 0 : vocab / 2 + 1},
                      .probability = true,
                      .alternatives = index % 5 * 3 - 1};
        if (index % 2) wanted.allowed = mask;
        Random random(static_cast<uint64_t>(index), 9);
        const std::vector<LogitChange> changes = random_changes(random, row.size());
        if (index % 3 == 0) wanted.changes = changes;
        expect_reference(row, wanted);
        wanted.choice = Choice::draw;
        for (const double u : {0.0, 0.2, 0.77, 0.9999999}) {
          wanted.u = u;
          wanted.temperature = index % 2 ? 0.8 : 3;
          wanted.top_k = index % 3 == 1 ? 5 : 0;
          wanted.top_p = index % 3 == 2 ? 0.9 : 1;
          expect_reference(row, wanted);
        }
      }
    }
  }
}

TEST_P(OnEveryIsa, draws_of_extreme_rows_are_the_references) {
  std::vector<float> row = random_row(3000, 1, 2);
  std::fill(row.begin() + 100, row.begin() + 2000, -kInf);
  std::vector<std::vector<float>> rows = {row, std::vector<float>(500, 0.25f),
                                          std::vector<float>(500, -kInf)};
  rows.push_back({3e38f, -3e38f, 0});
  rows.push_back({kInf, 1, kInf, -kInf});
  rows.push_back({1, kNan, 3});
  for (const auto& extreme : rows) {
    for (const double temperature : {1e-320, 1e-6, 1.0, 1e6, 1e300}) {
      for (const double u : {0.0, 0.5, 1 - 0x1.0p-53}) {
        for (const int top_k : {0, 1, 2, 1900}) {
          expect_reference(extreme, {.choice = Choice::draw,
                                     .temperature = temperature,
                                     .top_k = top_k,
                                     .top_p = top_k == 2 ? 1e-300 : 1,
                                     .u = u,
                                     .alternatives = 2});
        }
      }
    }
  }
}

// What a row answers does not depend on the wishes of others, which decide whether rows come whole.
TEST_P(OnEveryIsa, neighbours_change_nothing) {
  std::vector<std::vector<float>> rows;
  std::vector<Wanted> wanted;
  for (int i = 0; i < 9; ++i) {
    rows.push_back(random_row(20'000, static_cast<uint64_t>(i), 3));
    wanted.push_back({.excluded = {i, 19'000}, .probability = true, .alternatives = i % 3});
  }
  const std::vector<Chosen> greedy = run(rows, wanted);
  wanted[4].choice = Choice::draw, wanted[4].u = 0.4;
  wanted[7].choice = Choice::logits;
  const std::vector<Chosen> mixed = run(rows, wanted);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 4) continue;
    if (i == 7) {
      EXPECT_EQ(mixed[i].logits.size(), 20'000);
      EXPECT_EQ(mixed[i].logits[9], rows[i][9]);
      continue;
    }
    EXPECT_EQ(mixed[i].token, greedy[i].token);
    EXPECT_EQ(mixed[i].probability, greedy[i].probability) << "to the bit";
    EXPECT_EQ(mixed[i].logprob, greedy[i].logprob);
    EXPECT_EQ(mixed[i].top, greedy[i].top);
    const Chosen alone = one(rows[i], wanted[i]);
    EXPECT_EQ(alone.token, greedy[i].token);
    EXPECT_EQ(alone.logprob, greedy[i].logprob);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, OnEveryIsa, testing::ValuesIn(isas()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dvlm
