// Requests of many clients on one model: a bounded queue and a thread that gathers what all requests under
// way need next into one pass.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "engine/generator.h"

namespace dvlm {

// Why a request has no answer.
struct Failure {
  std::string error;          // a sentence; empty: it did not fail
  bool server_fault = false;  // the error is not the client's
  bool too_long = false;      // PromptTooLong
  bool grammar = false;       // GrammarError
  bool device_lost = false;   // DeviceLost: nobody gets an answer any more
  bool given_up = false;      // cancelled before it had begun
};

// One request on its way. The scheduler writes, its client reads.
class RequestHandle {
 public:
  struct Update : AnswerPart, Failure {  // since the last call
    bool done = false;                   // with an answer or a failure
    std::vector<WorkProgress> progress;  // the latest of each stage and picture
  };
  // Waits until there is something new, at most `timeout`. Progress alone ends no wait unless it is `asked`
  // for.
  Update wait(std::chrono::milliseconds timeout, bool asked = false);
  const Answer& answer() const { return answer_; }  // once done without an error
  std::string error();  // of a request that has failed already; it stays for wait()

  void cancel() { cancelled_ = true; }  // its work ends with the next pass, its place in the queue at once

 private:
  friend class Scheduler;
  void publish(AnswerPart part);
  void publish(const WorkProgress& progress);
  void finish(Answer answer);
  void fail(Failure failure);

  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  Update update_;
  Answer answer_;
};

struct SchedulerOptions {
  int max_batch = 8;        // requests that share passes
  size_t max_waiting = 32;  // beside those; further ones are refused
  // Tokens of prompts in a pass that also writes for others, who wait for it; and in one that does not.
  int prefill_rows = 64, prefill_rows_alone = 512;
  // A request tells of its work so often at most, and never before it has lasted that long.
  std::chrono::milliseconds progress_every{250};
};

struct SchedulerTotals {
  uint64_t requests = 0, failed = 0, cancelled = 0, refused = 0;  // ended; of these; of these; never begun
  uint64_t prompt_tokens = 0, reused_tokens = 0, tokens = 0;
  size_t waiting = 0, running = 0;  // now
  GeneratorTotals generator;
  std::string device_lost;  // the sentence of DeviceLost; empty: the device works
};

// Requests begin in the order in which they came. Each pass carries what every request under way needs next,
// and of prompts, the oldest first, as much as fits; the text of a request does not depend on its neighbours.
// When the device is lost all requests fail, later ones at once.
class Scheduler {
 public:
  Scheduler(Generator& generator, const SchedulerOptions& options);
  ~Scheduler();  // cancels what waits and what runs

  // Reads the request's images in the caller's thread; what is wrong with it is the handle's error. Null
  // when as many requests or images wait as may.
  std::shared_ptr<RequestHandle> submit(const Request& request);
  SchedulerTotals totals() const;

 private:
  struct Entry {
    std::shared_ptr<RequestHandle> handle;
    std::unique_ptr<Generation> generation;
  };

  void work();
  bool wait_for_work();
  void lose(const char* why);
  std::optional<Failure> lost() const;  // of every request, once the device is
  void drop_cancelled();                // leaves the queue to those who still wait
  void admit();
  bool begin(Entry& entry);  // false: it must wait
  WorkListener listener_for(const std::shared_ptr<RequestHandle>& handle) const;
  void advance();
  void publish();
  void finish(Entry& entry);
  void end_all();
  void fail(Entry& entry, bool server_fault);  // with the exception being handled
  void fail(Entry& entry, Failure failure);

  Generator& generator_;
  const SchedulerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Entry> waiting_;
  size_t loading_ = 0;  // of those that wait: not in the queue yet
  // Requests whose pictures are decoded at once: what each takes is bounded by max_source_pixels, and so all
  // of them are; and no client waits for one other alone.
  std::counting_semaphore<> pictures_{4};
  std::vector<Entry> running_;  // the thread's own; the oldest first
  SchedulerTotals totals_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace dvlm
