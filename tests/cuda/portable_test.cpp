// The host's layer must find what a device would get wrong now and then.
#include <gmock/gmock.h>

#include "core/error.h"
#include "cuda/portable.h"

namespace dvlm::cuda {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct Job {
  Global<const Word4> from;
  Global<float> to;
};

template <class Kernel>
void run(const Job& job, size_t shared_bytes = 1024, Dim grid = {}) {
  HostLauncher(7).launch<Kernel>(grid, shared_bytes, job);
}

struct Copies {
  std::vector<Word4> from = std::vector<Word4>(kWarp, Word4{1, 2, 3, 4});
  std::vector<float> to = std::vector<float>(kWarp);
  Job job() { return {{from.data(), from.size()}, {to.data(), to.size()}}; }
};

template <bool kWait>
struct CopyThenRead {
  using Job = cuda::Job;
  static constexpr int kThreads = kWarp;
  static void run(Block& block, const Job& job) {
    const Shared<Word4> shared = block.shared<Word4>(0, kWarp);
    block.lanes([&](int lane) {
      block.copy_async(shared, static_cast<size_t>(lane), job.from, static_cast<size_t>(lane));
    });
    block.commit_copies();
    if constexpr (kWait) block.wait_copies<0>();
    block.lanes([&](int lane) {
      store(job.to, static_cast<size_t>(lane), static_cast<float>(shared[static_cast<size_t>(lane)].w));
    });
  }
};

TEST(HostLayer, copies_arrive_when_they_are_waited_for) {
  Copies copies;
  run<CopyThenRead<true>>(copies.job());
  EXPECT_EQ(copies.to[5], 4);
  run<CopyThenRead<false>>(copies.job());
  EXPECT_EQ(copies.to[5], static_cast<float>(0xffffffffu));
}

// Warp w writes a word that warp w + 1 reads.
template <bool kBarrier>
struct Neighbours {
  using Job = cuda::Job;
  static constexpr int kThreads = 4 * kWarp;
  static void run(Block& block, const Job& job) {
    const Shared<float> words = block.shared<float>(0, 4);
    const auto warp = static_cast<size_t>(block.warp());
    block.lanes([&](int lane) {
      if (lane == 0) words[warp] = static_cast<float>(warp);
    });
    if constexpr (kBarrier) block.sync();
    block.lanes([&](int lane) {
      if (lane == 0) store(job.to, warp, words[(warp + 1) % 4]);
    });
    if constexpr (!kBarrier) block.sync();
  }
};

TEST(HostLayer, a_missing_barrier_shows) {
  Copies copies;
  run<Neighbours<true>>(copies.job());
  EXPECT_THAT(std::vector<float>(copies.to.begin(), copies.to.begin() + 4), testing::ElementsAre(1, 2, 3, 0));
  run<Neighbours<false>>(copies.job());
  EXPECT_THAT(std::vector<float>(copies.to.begin(), copies.to.begin() + 4),
              testing::Contains(testing::IsNan()));
}

struct LeavesEarly {
  using Job = cuda::Job;
  static constexpr int kThreads = 2 * kWarp;
  static void run(Block& block, const Job&) {
    if (block.warp() == 0) block.sync();
  }
};
struct WritesBehind {
  using Job = cuda::Job;
  static constexpr int kThreads = kWarp;
  static void run(Block& block, const Job& job) {
    block.lanes([&](int lane) { store(job.to, static_cast<size_t>(lane) + 1, 0.0f); });
  }
};
struct WantsMoreShared {
  using Job = cuda::Job;
  static constexpr int kThreads = kWarp;
  static void run(Block& block, const Job&) { block.shared<float>(1000, 7); }
};

TEST(HostLayer, wrong_kernels_are_refused) {
  Copies copies;
  EXPECT_THAT([&] { run<LeavesEarly>(copies.job()); },
              ThrowsMessage<Error>(HasSubstr("1 of 2 warps ended before")));
  EXPECT_THAT([&] { run<WritesBehind>(copies.job()); },
              ThrowsMessage<Error>(HasSubstr("writes device memory at 32 of 32")));
  EXPECT_THAT([&] { run<WantsMoreShared>(copies.job()); },
              ThrowsMessage<Error>(HasSubstr("up to 1028, of 1024")));
}

TEST(HostLayer, halves_of_e4m3_are_exact) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = to_float(e4m3{static_cast<uint8_t>(code)});
    const uint32_t both = widen_e4m3(static_cast<uint16_t>(code | code << 8));
    EXPECT_EQ(both & 0xffffu, both >> 16);
    const float half = to_float(f16{static_cast<uint16_t>(both & 0xffffu)});
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(half)) << code;
    else
      EXPECT_EQ(float_bits(half), float_bits(value)) << code;
  }
}

}  // namespace
}  // namespace dvlm::cuda
