#include "engine/scheduler.h"

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

void Ticket::publish(News news) {
  const std::lock_guard lock(mutex_);
  news_.text += news.text;
  append(news_.logprobs, news.logprobs);
  append(news_.passes, news.passes);
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
    : engine_(engine), options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (current_) current_->cancel();
    for (const auto& ticket : waiting_) ticket->cancel();
  }
  arrived_.notify_all();
  thread_.join();
}

std::shared_ptr<Ticket> Scheduler::submit(Request request) {
  auto ticket = std::make_shared<Ticket>(std::move(request));
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= options_.max_waiting) {
      ++totals_.refused;
      return nullptr;
    }
    waiting_.push_back(ticket);
  }
  arrived_.notify_one();
  return ticket;
}

SchedulerTotals Scheduler::totals() const {
  const std::lock_guard lock(mutex_);
  SchedulerTotals out = totals_;
  out.waiting = waiting_.size();
  out.running = current_ != nullptr;
  return out;
}

void Scheduler::work() {
  for (;;) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    answer(*current_);
    lock.lock();
    current_.reset();
  }
}

void Scheduler::answer(Ticket& ticket) {
  const auto start = std::chrono::steady_clock::now();
  Answer answer;
  std::string error;
  bool ours = false;
  try {
    if (ticket.cancelled_) fail("the request was given up before its turn came");
    answer = engine_.generate(
        ticket.request_,
        [&](std::string_view piece) {
          Ticket::News news;
          news.text = piece;
          ticket.publish(std::move(news));
        },
        [&] { return ticket.cancelled_.load(); });
  } catch (const Error& caught) {
    error = printable(caught.what(), 4096);
  } catch (const std::exception& caught) {
    ours = true;
    error = "the server could not answer";
    log(LogLevel::error, fmt::format("a request failed: {}", printable(caught.what(), 4096)));
  }
  {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    totals_.failed += !error.empty();
    totals_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    totals_.cancelled += answer.finish == FinishReason::cancelled;
    totals_.prompt_tokens += static_cast<uint64_t>(answer.prompt_tokens);
    totals_.reused_tokens += static_cast<uint64_t>(answer.reused_tokens);
    totals_.tokens += answer.tokens.size();
    totals_.passes += static_cast<uint64_t>(answer.stats.nfe + answer.stats.prefill_passes);
  }
  if (error.empty())
    ticket.finish(std::move(answer));
  else
    ticket.fail(std::move(error), ours);
}

}  // namespace dvlm
