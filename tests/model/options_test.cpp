#include "model/options.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "model/memory_budget.h"

namespace dvlm {
namespace {

TEST(Drafts, PayForLargeModelsWhereMemoryHasRoom) {
  constexpr size_t kGiB = size_t{1} << 30;
  EXPECT_EQ(drafts_that_pay(8 * kGiB, 2 * kGiB, 13 * kGiB), DraftPrecision::int4);
  EXPECT_EQ(drafts_that_pay(8 * kGiB, 2 * kGiB, 12 * kGiB), DraftPrecision::same)
      << "no room for keys and values";
  EXPECT_EQ(drafts_that_pay(8 * kGiB, 2 * kGiB, 0), DraftPrecision::same);
  EXPECT_EQ(drafts_that_pay(kGiB / 8, kGiB / 32, 100 * kGiB), DraftPrecision::same) << "too small to gain";
}

// What nobody has touched yet is free for the machine, and reserved all the same.
TEST(MemoryBudget, OfTheMachineCountsWhatIsReserved) {
  MemoryBudget budget(0);
  const size_t most = budget.free() / 10 * 7;
  budget.reserve(most, "the first");
  EXPECT_THROW(budget.reserve(most, "the second"), Error);
  budget.release(most);
  EXPECT_NO_THROW(budget.reserve(most / 2, "the third"));
}

}  // namespace
}  // namespace dvlm
