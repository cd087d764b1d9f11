// Means of what steps measured, for the lines of the log.
#pragma once
#include <cstdint>

#include "core/stopwatch.h"
#include "train/curve.h"

namespace dvlm {

class Meter {
 public:
  void read(int64_t samples, int64_t tokens) { samples_ += samples, tokens_ += tokens; }
  // A step's losses and the norm of its gradient, which are averaged; of its other numbers the latest stay.
  void add(const LogPoint& step);
  int64_t steps() const { return steps_; }  // since the last take()
  LogPoint take();                          // means and rates since the last, at least one step ago

 private:
  LogPoint sums_;
  int64_t steps_ = 0, samples_ = 0, tokens_ = 0;
  Clock::time_point start_ = Clock::now();
};

}  // namespace dvlm
