#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/machine.h"

namespace dvlm {

namespace {

// Some 50 to 110 microseconds, by the processor: longer than the gap between two operators of a pass, too
// short to cost power.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads == 0) threads = default_threads();
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& error) {  // a limit of processes or memory
    const size_t started = workers_.size() + 1;
    end_workers();
    fail("only {} of {} threads start: {}; say fewer with --threads", started, threads, error.what());
  }
}

ThreadPool::~ThreadPool() {
  end_workers();
}

void ThreadPool::end_workers() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::default_threads() {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0
                        ? CPU_COUNT(&set)
                        : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(cores, processor_quota()));
}

void ThreadPool::start(Task task, void* context) {
  if (!workers_.empty()) {
    running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      task_ = task, context_ = context;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  task(context, 0);
  // With more threads than cores a worker may not be running at all: give it the core after a while.
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
}

void ThreadPool::work(int thread) {
  uint64_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spins)
      pause();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    }
    if (stop_) return;
    // Written before the new generation, and not again until all workers have ended this one.
    seen = generation_.load(std::memory_order_acquire);
    task_(context_, thread);
    running_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace dvlm
