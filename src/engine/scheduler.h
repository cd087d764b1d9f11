// Requests of many clients on one engine: a bounded queue and a thread that gathers what all requests under
// way need next into one pass.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// One request on its way. The scheduler writes, whoever submitted it reads.
class Ticket {
 public:
  explicit Ticket(Request request) : request_(std::move(request)) {}

  struct News {
    std::string text;                   // since the last call; complete UTF-8
    std::vector<TokenChance> logprobs;  // of the tokens since the last call, when the request asks
    std::vector<PassRecord> passes;     // since the last call, when the request asks
    bool done = false;
    std::string error;  // done without an answer: a sentence
    bool ours = false;  // the error is not the client's
  };
  // Waits until there is something new, at most `patience`.
  News wait(std::chrono::milliseconds patience);
  const Answer& answer() const { return answer_; }  // once done without an error

  void cancel() { cancelled_ = true; }  // its work ends with the next pass

 private:
  friend class Scheduler;
  void publish(News news);
  void finish(Answer answer);
  void fail(std::string error, bool ours);

  Request request_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  News news_;
  Answer answer_;
};

struct SchedulerOptions {
  int max_batch = 8;        // requests that share passes
  size_t max_waiting = 32;  // beside those; further ones are refused
};

struct SchedulerTotals {
  uint64_t requests = 0, failed = 0, cancelled = 0, refused = 0;  // ended; of these; of these; never begun
  uint64_t prompt_tokens = 0, reused_tokens = 0, tokens = 0, passes = 0;
  double seconds = 0;               // at work
  size_t waiting = 0, running = 0;  // now
};

class Scheduler {
 public:
  Scheduler(Engine& engine, const SchedulerOptions& options);
  ~Scheduler();  // cancels what waits and what runs

  // Null when as many requests wait as may.
  std::shared_ptr<Ticket> submit(Request request);
  SchedulerTotals totals() const;

 private:
  void work();
  void answer(Ticket& ticket);

  Engine& engine_;
  const SchedulerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<Ticket>> waiting_;
  std::shared_ptr<Ticket> current_;
  SchedulerTotals totals_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace dvlm
