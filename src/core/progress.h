// A one-line progress bar on stderr for work that may take more than two seconds.
#pragma once
#include <cstdint>
#include <string>

#include "core/stopwatch.h"

namespace dvlm {

// Silent for the first two seconds and when stderr is not a terminal (then one plain line every 30 seconds).
class Progress {
 public:
  Progress(std::string title, int64_t total);  // total 0: unknown, counts up
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` stands behind the bar, e.g. "loss 1.234, 35 samples/s".
  void update(int64_t done, const std::string& note = {});

 private:
  std::string title_;
  int64_t total_;
  bool terminal_, shown_ = false;
  Clock::time_point start_, last_;
};

}  // namespace dvlm
