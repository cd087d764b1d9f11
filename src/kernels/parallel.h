// Splitting an operator over the pool where that pays.
#pragma once
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

// Calls f(i) for each i of [0, count), likewise.
template <class F>
void split_each(ThreadPool& pool, int count, double nanoseconds, F&& f) {
  split(pool, count, nanoseconds, [&](int64_t begin, int64_t end) {
    for (int i = static_cast<int>(begin); i < end; ++i) f(i);
  });
}

}  // namespace dvlm
