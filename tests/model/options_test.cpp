#include "model/options.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace dvlm
