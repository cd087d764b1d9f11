// A one-line progress bar on stderr for work that may take more than half a second.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "core/stopwatch.h"

namespace dvlm {

// Silent for the first half second and when stderr is not a terminal (then one plain line every 30 seconds).
// Drawn anew every second, also while nothing is done: work that goes on does not look stuck.
class Progress {
 public:
  Progress(std::string title, int64_t total);  // total 0: unknown, counts up
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` stands behind the bar, e.g. "loss 1.234, 35 samples/s".
  void update(int64_t done, const std::string& note = {});
  // A line of its own on stderr, in the bar's place.
  void say(const std::string& line);

 private:
  void tick(const std::stop_token& ended);
  void draw();
  std::string line(double elapsed) const;

  const std::string title_;
  const int64_t total_;
  const bool terminal_;
  const Clock::time_point start_;
  std::mutex mutex_;
  std::condition_variable_any ending_;
  int64_t done_ = 0;
  std::string note_;
  bool shown_ = false;
  Clock::time_point last_;  // drawn
  std::jthread ticker_;     // last: it uses the others
};

}  // namespace dvlm
