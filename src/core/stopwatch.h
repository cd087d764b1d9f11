#pragma once
#include <chrono>

namespace dvlm {

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
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace dvlm
