// One persistent pool of threads; the caller works too. Workers spin briefly before they sleep.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace dvlm {

class ThreadPool {
 public:
  // 0: default_threads(); the calling thread is one of them. Throws Error where not all of them start.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(thread) once on each thread, thread = 0..threads()-1, and returns when all have returned.
  // f must not throw and must not call the pool again. One caller at a time.
  template <class F>
  void run(F&& f) {
    start([](void* context, int thread) { (*static_cast<std::remove_reference_t<F>*>(context))(thread); },
          const_cast<void*>(static_cast<const void*>(&f)));
  }

  // Splits [0, count) into contiguous ranges, one per thread, and calls f(begin, end) for the non-empty ones.
  template <class F>
  void parallel_for(int64_t count, F&& f) {
    run([&](int thread) {
      const int64_t begin = count * thread / threads(), end = count * (thread + 1) / threads();
      if (begin < end) f(begin, end);
    });
  }

  static int default_threads();  // the cores this process may use, and the time that it has of them

 private:
  using Task = void (*)(void*, int);
  void start(Task task, void* context);
  void work(int thread);
  void end_workers();

  std::vector<std::thread> workers_;
  Task task_ = nullptr;
  void* context_ = nullptr;
  // Who waits for one is not disturbed by those who count down the other.
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace dvlm
