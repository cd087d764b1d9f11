// While a person types a question, its pictures are read.
#pragma once
#include <atomic>
#include <functional>
#include <future>
#include <mutex>

#include "engine/engine.h"

namespace dvlm {

class ReadAhead {
 public:
  explicit ReadAhead(Engine& engine) : engine_(engine) {}
  ~ReadAhead() { stop(); }

  // Reads what a question will begin with, in a thread, behind what is being read: the engine keeps it. What
  // is wrong with it the answer will tell. Nobody else may use the engine until finish() or stop().
  void begin(Request known);
  // Waits until all is read, or until Ctrl-C; `on_progress` hears how far that is.
  void finish(std::function<void(const WorkProgress&)> on_progress);
  void stop();

 private:
  void read(const Request& known);
  void hear(const WorkProgress& work);

  Engine& engine_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::function<void(const WorkProgress&)> on_progress_;
  std::future<void> reading_;
};

}  // namespace dvlm
