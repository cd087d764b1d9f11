#include "kernels/parallel.h"

#include <gtest/gtest.h>

#include <mutex>
#include <vector>

namespace dvlm {
namespace {

constexpr double kLong = 1e9;  // nanoseconds per item: always worth splitting

TEST(Share, GivesEachItemOnceInRangesThatShrinkToTheLeast) {
  ThreadPool pool(3);
  for (const int64_t least : {1, 4}) {
    for (const int64_t count : {1, 3, 4, 5, 100, 687}) {
      std::vector<int> calls(static_cast<size_t>(count));
      int64_t longest = 0;
      std::mutex mutex;
      share(pool, count, least, kLong, [&](int64_t begin, int64_t end) {
        const std::lock_guard lock(mutex);
        longest = std::max(longest, end - begin);
        EXPECT_EQ(begin % least, 0);
        EXPECT_TRUE(end == count || (end - begin) % least == 0);
        for (int64_t i = begin; i < end; ++i) ++calls[static_cast<size_t>(i)];
      });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(count), 1));
      EXPECT_LE(longest, std::max(least, count / 6)) << "no thread begins with more than half of its part";
    }
  }
}

TEST(Share, StaysOnOneThreadWhereThatIsSooner) {
  ThreadPool pool(3);
  const auto here = std::this_thread::get_id();
  int calls = 0;
  share(pool, 100, 1, 1, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_EQ(end - begin, 100);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace dvlm
