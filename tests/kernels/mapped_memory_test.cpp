#include "kernels/mapped_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "core/error.h"

namespace dvlm {
namespace {

// Writes to every page, of which some are given back meanwhile.
void take_and_give_back(int seed, std::vector<MappedMemory>& kept) {
  for (int i = 0; i < 200; ++i) {
    const size_t bytes = static_cast<size_t>((seed + i) * 7919 % 3000000 + 1);
    MappedMemory memory(bytes);
    ASSERT_EQ(memory.size(), bytes);
    ASSERT_TRUE(
        std::all_of(memory.data(), memory.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::memset(memory.data(), seed + i, bytes);
    if (i % 3 == 0) kept.push_back(std::move(memory));
  }
}

TEST(MappedMemory, are_zero_and_nobody_else_s) {
  std::vector<MappedMemory> kept[3];
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int t = 0; t < 3; ++t) threads.emplace_back([&, t] { take_and_give_back(t, kept[t]); });
  for (std::thread& thread : threads) thread.join();
  kept[1].clear();
  for (const int t : {0, 2}) {
    for (size_t i = 0; i < kept[t].size(); ++i) {
      const auto expected = static_cast<std::byte>(t + 3 * static_cast<int>(i));
      const MappedMemory& memory = kept[t][i];
      EXPECT_TRUE(std::all_of(memory.data(), memory.data() + memory.size(),
                              [&](std::byte b) { return b == expected; }));
    }
  }
}

TEST(MappedMemory, large_ones_cost_nothing_until_they_are_written) {
  MappedMemory memory(size_t{3} << 30);
  memory.data()[memory.size() - 1] = std::byte{1};
  EXPECT_EQ(memory.data()[0], std::byte{0});
  const MappedMemory moved = std::move(memory);
  EXPECT_EQ(moved.data()[moved.size() - 1], std::byte{1});
}

TEST(MappedMemory, too_many_are_refused_with_a_sentence) {
  EXPECT_THROW(MappedMemory(size_t{1} << 60), Error);
}

}  // namespace
}  // namespace dvlm
