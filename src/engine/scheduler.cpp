#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace dvlm {

namespace {

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Ticket::News Ticket::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] {
    return news_.done || !news_.text.empty() || !news_.passes.empty() || !news_.logprobs.empty();
  });
  News out = std::move(news_);
  news_ = {};
  news_.done = out.done;
  news_.error = out.error;
  news_.ours = out.ours;
  return out;
}

void Ticket::publish(AnswerPart part) {
  const std::lock_guard lock(mutex_);
  news_.text += part.text;
  append(news_.logprobs, part.logprobs);
  append(news_.passes, part.passes);
  changed_.notify_all();
}

void Ticket::finish(Answer answer) {
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
  news_.done = true;
  changed_.notify_all();
}

void Ticket::fail(std::string error, bool ours) {
  const std::lock_guard lock(mutex_);
  news_.error = std::move(error);
  news_.ours = ours;
  news_.done = true;
  changed_.notify_all();
}

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : core_(engine.core()), options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  arrived_.notify_all();
  thread_.join();
}

std::shared_ptr<Ticket> Scheduler::submit(const Request& request) {
  forget_given_up();
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + loading_ >= options_.max_waiting) {
      ++totals_.refused;
      return nullptr;
    }
    ++loading_;
  }
  Entry entry{std::make_shared<Ticket>(), nullptr};
  std::shared_ptr<Ticket> ticket = entry.ticket;
  try {
    std::unique_lock lock(pictures_, std::defer_lock);
    if (!pictures_of(request.conversation).empty()) lock.lock();
    entry.generation = core_.load(request);
  } catch (...) {
    fail(entry, false);
  }
  const std::lock_guard lock(mutex_);
  --loading_;
  if (entry.generation) {
    waiting_.push_back(std::move(entry));
    arrived_.notify_one();
  }
  return ticket;
}

SchedulerTotals Scheduler::totals() const {
  const std::lock_guard lock(mutex_);
  SchedulerTotals out = totals_;
  out.waiting = waiting_.size() + loading_;
  return out;
}

void Scheduler::work() {
  while (wait_for_work()) {
    admit();
    advance();
    settle();
  }
}

bool Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  if (running_.empty()) arrived_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
  if (closing_) {
    for (const Entry& entry : waiting_) entry.ticket->cancel();
    for (const Entry& entry : running_) entry.ticket->cancel();
  }
  return !closing_ || !waiting_.empty() || !running_.empty();
}

void Scheduler::forget_given_up() {
  std::vector<Entry> given_up;
  {
    const std::lock_guard lock(mutex_);
    const auto first = std::stable_partition(waiting_.begin(), waiting_.end(),
                                             [](const Entry& entry) { return !entry.ticket->cancelled_; });
    given_up.assign(std::move_iterator(first), std::move_iterator(waiting_.end()));
    waiting_.erase(first, waiting_.end());
  }
  for (Entry& entry : given_up) fail(entry, "the request was given up before its turn came", false);
}

// In the order of arrival: one that must wait holds up those behind it, or it might wait for ever.
void Scheduler::admit() {
  forget_given_up();
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

bool Scheduler::begin(Entry& entry) {
  try {
    if (!core_.begin(*entry.generation)) return false;
    running_.push_back(std::move(entry));
  } catch (...) {
    fail(entry, false);
  }
  return true;
}

// A picture at most, and a pass.
void Scheduler::advance() {
  bool encoded = false, writing = false;
  std::vector<Generation*> ready;
  for (const Entry& entry : running_) {
    Generation& g = *entry.generation;
    if (entry.ticket->cancelled_) continue;
    if (!g.ready() && !encoded) {
      encoded = true;
      try {
        core_.encode_picture(g);
      } catch (...) {
        g.failure = std::current_exception();
      }
    }
    if (!g.ready()) continue;
    ready.push_back(&g);
    writing |= g.prefilled();
  }
  if (!ready.empty()) core_.step(ready, writing ? options_.prefill_rows : options_.prefill_rows_alone);
}

// The totals are right before anybody hears of an end.
void Scheduler::settle() {
  std::vector<Entry> going, ended;
  std::vector<bool> ours;
  for (Entry& entry : running_) {
    Generation& g = *entry.generation;
    if (!g.ended() && !entry.ticket->cancelled_) {
      entry.ticket->publish(std::exchange(g.news, {}));
      going.push_back(std::move(entry));
      continue;
    }
    ours.push_back(g.ready());
    core_.end(g);
    ended.push_back(std::move(entry));
  }
  running_ = std::move(going);
  {
    const std::lock_guard lock(mutex_);
    totals_.running = running_.size();
    totals_.core = core_.totals();
  }
  for (size_t i = 0; i < ended.size(); ++i) finish(ended[i], ours[i]);
}

void Scheduler::finish(Entry& entry, bool ours) {
  Generation& g = *entry.generation;
  if (g.failure) {
    try {
      std::rethrow_exception(g.failure);
    } catch (...) {
      fail(entry, ours);
    }
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    totals_.cancelled += g.answer.finish == FinishReason::cancelled;
    totals_.prompt_tokens += static_cast<uint64_t>(g.answer.prompt_tokens);
    totals_.reused_tokens += static_cast<uint64_t>(g.answer.reused_tokens);
    totals_.tokens += g.answer.tokens.size();
  }
  entry.ticket->publish(std::move(g.news));
  entry.ticket->finish(std::move(g.answer));
}

void Scheduler::fail(Entry& entry, bool ours) {
  try {
    throw;
  } catch (const Error& error) {
    fail(entry, printable(error.what(), 4096), ours);
  } catch (const std::exception& error) {
    log(LogLevel::error, fmt::format("a request failed: {}", printable(error.what(), 4096)));
    fail(entry, "the server could not answer", true);
  }
}

void Scheduler::fail(Entry& entry, std::string sentence, bool ours) {
  {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    ++totals_.failed;
  }
  entry.ticket->fail(std::move(sentence), ours);
}

}  // namespace dvlm
