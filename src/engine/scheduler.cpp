#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "core/finally.h"
#include "core/log.h"
#include "grammar/grammar_error.h"
#include "model/device_lost.h"

namespace dvlm {

namespace {

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

const Failure kGivenUp{.error = "the request was given up before its turn came", .given_up = true};

}  // namespace

RequestHandle::Update RequestHandle::wait(std::chrono::milliseconds timeout, bool asked) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] {
    return update_.done || !update_.text.empty() || !update_.passes.empty() || !update_.logprobs.empty() ||
           (asked && !update_.progress.empty());
  });
  Update out = std::move(update_);
  update_ = {};
  update_.done = out.done;
  static_cast<Failure&>(update_) = out;
  return out;
}

std::string RequestHandle::error() {
  const std::lock_guard lock(mutex_);
  return update_.error;
}

void RequestHandle::publish(AnswerPart part) {
  const std::lock_guard lock(mutex_);
  update_.text += part.text;
  append(update_.logprobs, part.logprobs);
  append(update_.passes, part.passes);
  changed_.notify_all();
}

void RequestHandle::publish(const WorkProgress& progress) {
  const std::lock_guard lock(mutex_);
  const auto same = [&](const WorkProgress& other) {
    return other.stage == progress.stage && other.picture == progress.picture;
  };
  const auto known = std::ranges::find_if(update_.progress, same);
  if (known == update_.progress.end())
    update_.progress.push_back(progress);
  else
    *known = progress;
  changed_.notify_all();
}

void RequestHandle::finish(Answer answer) {
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
  update_.done = true;
  changed_.notify_all();
}

void RequestHandle::fail(Failure failure) {
  const std::lock_guard lock(mutex_);
  static_cast<Failure&>(update_) = std::move(failure);
  update_.done = true;
  changed_.notify_all();
}

Scheduler::Scheduler(Generator& generator, const SchedulerOptions& options)
    : generator_(generator), options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  arrived_.notify_all();
  thread_.join();
}

std::shared_ptr<RequestHandle> Scheduler::submit(const Request& request) {
  drop_cancelled();
  Entry entry{std::make_shared<RequestHandle>(), nullptr};
  std::shared_ptr<RequestHandle> handle = entry.handle;
  if (const std::optional<Failure> why = lost()) {
    fail(entry, *why);
    return handle;
  }
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + loading_ >= options_.max_waiting) {
      ++totals_.refused;
      return nullptr;
    }
    ++loading_;
  }
  try {
    const bool pictures = !visuals_of(request.conversation).empty();
    if (pictures) pictures_.acquire();
    const Finally done([&] {
      if (pictures) pictures_.release();
    });
    entry.generation = generator_.load(request);
  } catch (const NoPlaceForVisual&) {
    handle = nullptr;
  } catch (...) {
    fail(entry, false);
  }
  const std::lock_guard lock(mutex_);
  --loading_;
  totals_.refused += !handle;
  if (entry.generation) {
    waiting_.push_back(std::move(entry));
    arrived_.notify_one();
  }
  return handle;
}

SchedulerTotals Scheduler::totals() const {
  const std::lock_guard lock(mutex_);
  SchedulerTotals out = totals_;
  out.waiting = waiting_.size() + loading_;
  return out;
}

void Scheduler::work() {
  while (wait_for_work()) {
    if (lost()) {
      end_all();
      continue;
    }
    admit();
    advance();
    publish();
  }
}

bool Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  if (running_.empty()) arrived_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
  if (closing_) {
    for (const Entry& entry : waiting_) entry.handle->cancel();
    for (const Entry& entry : running_) entry.handle->cancel();
  }
  return !closing_ || !waiting_.empty() || !running_.empty();
}

void Scheduler::lose(const char* why) {
  {
    const std::lock_guard lock(mutex_);
    if (!totals_.device_lost.empty()) return;
    totals_.device_lost = printable(why, 4096);
  }
  log(LogLevel::error, why);
}

std::optional<Failure> Scheduler::lost() const {
  const std::lock_guard lock(mutex_);
  if (totals_.device_lost.empty()) return {};
  return Failure{.error = totals_.device_lost, .server_fault = true, .device_lost = true};
}

void Scheduler::drop_cancelled() {
  std::vector<Entry> given_up;
  {
    const std::lock_guard lock(mutex_);
    const auto first = std::stable_partition(waiting_.begin(), waiting_.end(),
                                             [](const Entry& entry) { return !entry.handle->cancelled_; });
    given_up.assign(std::move_iterator(first), std::move_iterator(waiting_.end()));
    waiting_.erase(first, waiting_.end());
  }
  for (Entry& entry : given_up) fail(entry, kGivenUp);
}

// Requests begin in the order of arrival: one that must wait holds up those behind it, or it might wait for
// ever.
void Scheduler::admit() {
  drop_cancelled();
  while (std::ssize(running_) < options_.max_batch) {
    std::unique_lock lock(mutex_);
    if (waiting_.empty()) return;
    Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    if (begin(entry)) continue;
    lock.lock();
    waiting_.push_front(std::move(entry));
    return;
  }
}

// What it holds lives as long as the request's work.
WorkListener Scheduler::listener_for(const std::shared_ptr<RequestHandle>& handle) const {
  auto next = std::make_shared<Clock::time_point>(Clock::now() + options_.progress_every);
  const auto tell = [every = options_.progress_every, next, handle](const WorkProgress& progress) {
    if (Clock::now() < *next) return;
    *next = Clock::now() + every;
    handle->publish(progress);
  };
  return {tell, [handle] { return handle->cancelled_.load(); }};
}

bool Scheduler::begin(Entry& entry) {
  try {
    entry.generation->listen(listener_for(entry.handle));
    if (!generator_.begin(*entry.generation)) return false;
    running_.push_back(std::move(entry));
  } catch (...) {
    fail(entry, false);
  }
  return true;
}

// Encodes at most one image, then makes one pass.
void Scheduler::advance() {
  using Phase = Generation::Phase;
  bool encoded = false, writing = false;
  std::vector<Generation*> together;
  for (const Entry& entry : running_) {
    Generation& g = *entry.generation;
    if (entry.handle->cancelled_) continue;
    if (g.phase() == Phase::encoding && !encoded) {
      encoded = true;
      generator_.encode_visual(g);
    }
    if (!g.in_passes()) continue;
    together.push_back(&g);
    writing |= g.phase() == Phase::writing;
  }
  if (!together.empty())
    generator_.step(together, writing ? options_.prefill_rows : options_.prefill_rows_alone);
}

// The totals are right before anybody hears of an end.
void Scheduler::publish() {
  std::vector<Entry> going, ended;
  for (Entry& entry : running_) {
    Generation& g = *entry.generation;
    if (g.phase() != Generation::Phase::ended && !entry.handle->cancelled_) {
      entry.handle->publish(g.take_update());
      going.push_back(std::move(entry));
      continue;
    }
    generator_.end(g);
    ended.push_back(std::move(entry));
  }
  running_ = std::move(going);
  {
    const std::lock_guard lock(mutex_);
    totals_.running = running_.size();
    totals_.generator = generator_.totals();
  }
  for (Entry& entry : ended) finish(entry);
}

void Scheduler::finish(Entry& entry) {
  Generation& g = *entry.generation;
  if (g.failure()) {
    try {
      std::rethrow_exception(g.failure());
    } catch (...) {
      fail(entry, g.failed_in_pass());
    }
    return;
  }
  const Answer& answer = g.answer();
  {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    totals_.cancelled += answer.finish == FinishReason::cancelled;
    totals_.prompt_tokens += static_cast<uint64_t>(answer.prompt_tokens);
    totals_.reused_tokens += static_cast<uint64_t>(answer.reused_tokens);
    totals_.tokens += answer.tokens.size();
  }
  entry.handle->publish(g.take_update());
  entry.handle->finish(g.take_answer());
}

void Scheduler::end_all() {
  std::vector<Entry> all = std::exchange(running_, {});
  for (const Entry& entry : all) generator_.end(*entry.generation);
  {
    const std::lock_guard lock(mutex_);
    std::move(waiting_.begin(), waiting_.end(), std::back_inserter(all));
    waiting_.clear();
    totals_.running = 0;
  }
  for (Entry& entry : all) fail(entry, *lost());
}

void Scheduler::fail(Entry& entry, bool server_fault) {
  try {
    throw;
  } catch (const DeviceLost& error) {
    lose(error.what());
    fail(entry, *lost());
  } catch (const PromptTooLong& error) {
    fail(entry, Failure{.error = error.what(), .server_fault = server_fault, .too_long = true});
  } catch (const GrammarError& error) {  // whenever it shows
    fail(entry, Failure{.error = printable(error.what(), 4096), .grammar = true});
  } catch (const Error& error) {
    fail(entry, Failure{printable(error.what(), 4096), server_fault});
  } catch (const std::exception& error) {
    log(LogLevel::error, fmt::format("a request failed: {}", printable(error.what(), 4096)));
    fail(entry, Failure{"the server could not answer", true});
  }
}

void Scheduler::fail(Entry& entry, Failure failure) {
  {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    ++totals_.failed;
  }
  entry.handle->fail(std::move(failure));
}

}  // namespace dvlm
