// Requests one after the other on a thread of their own, with a bounded queue before it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/engine.h"
#include "server/stop_strings.h"

namespace dvlm {

// One request on its way. The worker writes, whoever submitted it reads.
class Ticket {
 public:
  Ticket(Request request, std::vector<std::string> stop)
      : request_(std::move(request)), stop_(std::move(stop)) {}

  struct News {
    std::string text;  // since the last call
    bool done = false;
    bool stopped = false;  // by a stop string
    std::string error;     // done without an answer: a sentence
    bool ours = false;     // the error is not the client's
  };
  // Waits until there is something new, at most `patience`.
  News wait(std::chrono::milliseconds patience);
  const Answer& answer() const { return answer_; }  // once done without an error

  void cancel() { cancelled_ = true; }  // its work ends with the next pass

 private:
  friend class Worker;
  void publish(std::string_view piece);
  void finish(std::optional<Answer> answer, std::string error, bool ours);

  Request request_;
  StopStrings stop_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  News news_;
  Answer answer_;
};

struct WorkerTotals {
  uint64_t requests = 0, failed = 0, cancelled = 0, refused = 0;
  uint64_t prompt_tokens = 0, reused_tokens = 0, tokens = 0, passes = 0;
  double seconds = 0;  // at work
  size_t waiting = 0;  // now
  bool busy = false;   // now
};

class Worker {
 public:
  Worker(Engine& engine, size_t most_waiting);
  ~Worker();  // cancels what waits and what runs

  // Null when as many requests wait as may.
  std::shared_ptr<Ticket> submit(Request request, std::vector<std::string> stop);
  WorkerTotals totals() const;

 private:
  void work();
  void answer(Ticket& ticket);

  Engine& engine_;
  const size_t most_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<Ticket>> waiting_;
  std::shared_ptr<Ticket> current_;
  WorkerTotals totals_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace dvlm
