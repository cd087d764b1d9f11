// What a command shows while there is no text yet.
#pragma once
#include <optional>
#include <string>

#include "checkpoint/config.h"
#include "core/progress.h"
#include "engine/work_progress.h"

namespace dvlm {

// A picture of which this is to be expected takes long to encode.
constexpr double kLongSeconds = 10;

// One progress bar after the other on stderr, for the stages of the work. Says once that a picture is
// expensive, as soon as its first layers show that all of them will take more than kLongSeconds.
class WorkBar {
 public:
  explicit WorkBar(const ModelConfig& config) : config_(config) {}
  void hear(const WorkProgress& work);
  // For answers that are not shown as they come: counts their characters behind `title`.
  void write(const std::string& title, size_t characters);
  void end() { bar_.reset(); }

 private:
  void begin(const WorkProgress& work);
  void notice(const WorkProgress& work);

  const ModelConfig& config_;
  std::optional<Progress> bar_;
  WorkProgress first_;  // what the bar began with
  Clock::time_point begun_;
  int64_t written_ = -1;  // characters; -1: the bar is of something else
  bool noticed_ = false;
};

}  // namespace dvlm
