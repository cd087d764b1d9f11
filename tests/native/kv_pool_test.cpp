// Sequences that share pages of keys and values.
#include "native/kv_pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "native/native.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

class SharedKeys : public testing::Test {
 protected:
  SharedKeys() : checkpoint_(make_random_model(small_config(), 7, folder_.path())) {
    model_ = load_native(checkpoint_, {.threads = 2, .kv_limit = size_t{1} << 20});
    const auto sequence = model_->new_sequence(1);
    page_ = model_->kv_memory().used;
  }

  // Appends tokens that follow from `seed`; the logits of the last row.
  std::vector<float> append(Sequence& sequence, int count, uint64_t seed) {
    Random random(seed);
    std::vector<TokenId> tokens;
    std::vector<Position> positions;
    for (int i = 0; i < count; ++i) {
      const int at = sequence.length() + i;
      tokens.push_back(static_cast<TokenId>(random.below(90)));
      positions.push_back({at, at, at});
    }
    const Wanted last{.row = count - 1, .choice = Choice::logits};
    const Segment segment{.sequence = &sequence,
                          .tokens = tokens,
                          .positions = positions,
                          .features = {},
                          .context = sequence.length(),
                          .keep = true,
                          .wanted = {&last, 1}};
    return logits_of(model_->forward({&segment, 1}));
  }
  // What sequences of these pieces, written one after the other, end with.
  std::vector<float> expected(std::initializer_list<std::pair<int, uint64_t>> pieces) {
    const auto sequence = model_->new_sequence(300);
    std::vector<float> logits;
    for (const auto& [count, seed] : pieces) logits = append(*sequence, count, seed);
    return logits;
  }
  size_t pages() const { return model_->kv_memory().used / page_; }

  TemporaryFolder folder_;
  Checkpoint checkpoint_;
  std::unique_ptr<Model> model_;
  size_t page_ = 0;
};

TEST_F(SharedKeys, forks_continue_on_their_own_and_hold_full_pages_once) {
  const auto first = model_->new_sequence(200);
  append(*first, 150, 1);
  EXPECT_EQ(pages(), 4);
  const auto fork = first->fork(140);
  EXPECT_EQ(pages(), 5) << "two pages are shared, the third is copied";
  EXPECT_THROW(append(*fork, 1, 2), Error) << "no room was asked for";
  ASSERT_TRUE(fork->reserve(200));
  const auto at_150 = first->fork(150);
  ASSERT_TRUE(at_150->reserve(170));
  const std::vector<float> continued = append(*fork, 20, 2);
  EXPECT_EQ(append(*first, 20, 3), expected({{150, 1}, {20, 3}}));
  EXPECT_EQ(append(*at_150, 20, 3), expected({{150, 1}, {20, 3}}));
  const auto again = first->fork(140);
  ASSERT_TRUE(again->reserve(200));
  EXPECT_EQ(append(*again, 20, 2), continued);
}

TEST_F(SharedKeys, what_was_shared_and_truncated_is_copied_before_it_is_written) {
  const auto first = model_->new_sequence(200);
  append(*first, 130, 1);
  const auto fork = first->fork(130);
  first->truncate(30);
  EXPECT_EQ(append(*first, 60, 2), append(
                                       *[&] {
                                         auto fresh = model_->new_sequence(200);
                                         append(*fresh, 130, 1);
                                         fresh->truncate(30);
                                         return fresh;
                                       }(),
                                       60, 2));
  ASSERT_TRUE(fork->reserve(150));
  EXPECT_EQ(append(*fork, 5, 4), expected({{130, 1}, {5, 4}})) << "the fork still has what it had";
}

TEST_F(SharedKeys, memory_is_claimed_before_it_is_needed_and_comes_back) {
  const int most = static_cast<int>((size_t{1} << 20) / page_) * kPageTokens;
  EXPECT_THROW(model_->new_sequence(most + 1), Error);
  {
    const auto all = model_->new_sequence(most);
    EXPECT_THROW(model_->new_sequence(1), Error);
    append(*all, 70, 1);
    all->trim();
    EXPECT_EQ(pages(), 2);
    const auto other = model_->new_sequence(most - 2 * kPageTokens);
    EXPECT_FALSE(all->reserve(most));
    EXPECT_TRUE(all->reserve(2 * kPageTokens));
    append(*all, 50, 2);
  }
  EXPECT_EQ(pages(), 0);
}

}  // namespace
}  // namespace dvlm
