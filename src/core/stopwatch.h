// Time that passes.
#pragma once
#include <chrono>

namespace dvlm {

using Clock = std::chrono::steady_clock;

class Stopwatch {
 public:
  // Milliseconds since construction or the last lap.
  double lap() {
    const auto now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return ms;
  }

 private:
  Clock::time_point start_ = Clock::now();
};

template <class Call>
double milliseconds_of(const Call& call) {
  Stopwatch watch;
  call();
  return watch.lap();
}

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace dvlm
