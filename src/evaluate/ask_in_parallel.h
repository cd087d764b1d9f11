// Many requests at an endpoint at once.
#pragma once
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"

namespace dvlm {

// take(i, ask(i)) for 0 .. count - 1: `ask` in so many threads, `take` for one at a time, in the order in
// which answers come. Stops when interrupted(); throws Error for the first `ask` or `take` that failed, when
// all that were under way have ended.
template <class Ask, class Take>
void ask_in_parallel(size_t count, int parallel, const Ask& ask, const Take& take) {
  std::mutex mutex;  // over what follows
  size_t next = 0;
  std::string failure;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    try {
      while (next < count && failure.empty() && !interrupted()) {
        const size_t i = next++;
        lock.unlock();
        auto answer = ask(i);
        lock.lock();
        take(i, std::move(answer));
      }
    } catch (const Cancelled&) {
    } catch (const std::exception& error) {
      if (!lock.owns_lock()) lock.lock();
      if (failure.empty()) failure = error.what();
    }
  };
  {
    std::vector<std::jthread> workers(static_cast<size_t>(parallel));
    for (std::jthread& worker : workers) worker = std::jthread(work);
  }
  if (!failure.empty()) fail("{}", failure);
}

}  // namespace dvlm
