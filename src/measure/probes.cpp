#include "measure/probes.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/stopwatch.h"
#include "kernels/isa.h"
#include "kernels/mapped_memory.h"

namespace dvlm::probes {

// One stream per thread with prefetches, as weights are read.
double read_bandwidth(ThreadPool& pool, int trials) {
  using Vector = uint64_t __attribute__((vector_size(64)));  // a line
  constexpr int64_t kLines = (int64_t{1} << 30) / sizeof(Vector);
  constexpr int kAhead = 40;
  static MappedMemory memory(sizeof(Vector) * kLines);  // huge pages, as weights have
  const auto* data = reinterpret_cast<const Vector*>(memory.data());
  static const bool touched = [] {
    for (size_t at = 0; at < memory.size(); at += 4096) memory.data()[at] = std::byte{1};
    return true;
  }();
  static_cast<void>(touched);
  static std::atomic<uint64_t> sink;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kLines, [&](int64_t begin, int64_t end) {
      Vector sum[4] = {};
      for (const Vector *p = data + begin, *last = data + end; p + 4 <= last; p += 4) {
        for (int i = 0; i < 4; ++i) {
          __builtin_prefetch(p + kAhead + i);
          sum[i] ^= p[i];
        }
      }
      sink += sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
    });
    best = std::max(best, static_cast<double>(sizeof(Vector)) * kLines / seconds_since(start));
  }
  return best;
}

double multiply_rate(ThreadPool& pool, int trials) {
  constexpr int64_t kRounds = 1'000'000;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<double> operations(static_cast<size_t>(pool.threads()));
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int thread) { operations[static_cast<size_t>(thread)] = current_isa().multiply(kRounds); });
    const double seconds = seconds_since(start);
    best = std::max(best, std::accumulate(operations.begin(), operations.end(), 0.0) / seconds);
  }
  return best;
}

}  // namespace dvlm::probes
