// Splitting an operator over the pool where that pays.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/thread_pool.h"

namespace dvlm {

// Waking the other threads and waiting for them costs a few microseconds.
constexpr double kWorthSplitting = 15e3;  // nanoseconds of work on one thread

// Calls f(begin, end) over contiguous ranges of [0, count), on the calling thread alone when the whole job
// takes less than kWorthSplitting at about `nanoseconds` per item. The split must not change results.
template <class F>
void split(ThreadPool& pool, int64_t count, double nanoseconds, F&& f) {
  if (count <= 0) return;
  if (pool.threads() == 1 || static_cast<double>(count) * nanoseconds < kWorthSplitting)
    f(int64_t{0}, count);
  else
    pool.parallel_for(count, f);
}

// The same, but whoever is done takes more, in ranges that shrink towards the end down to `least` items:
// cores that are not equally fast, or not equally free, end together.
template <class F>
void share(ThreadPool& pool, int64_t count, int64_t least, double nanoseconds, F&& f) {
  if (count <= 0) return;
  if (pool.threads() == 1 || static_cast<double>(count) * nanoseconds < kWorthSplitting)
    return f(int64_t{0}, count);
  std::atomic<int64_t> next = 0;
  pool.run([&](int) {
    int64_t begin = next.load(std::memory_order_relaxed), end = 0;
    while (begin < count) {
      const int64_t ranges = (count - begin) / (2 * least * pool.threads());
      end = std::min(count, begin + std::max<int64_t>(1, ranges) * least);
      if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      f(begin, end);
      begin = next.load(std::memory_order_relaxed);
    }
  });
}

// Calls f(i) for each i of [0, count), likewise.
template <class F>
void split_each(ThreadPool& pool, int count, double nanoseconds, F&& f) {
  split(pool, count, nanoseconds, [&](int64_t begin, int64_t end) {
    for (int i = static_cast<int>(begin); i < end; ++i) f(i);
  });
}

}  // namespace dvlm
