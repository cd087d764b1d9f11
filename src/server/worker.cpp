#include "server/worker.h"

#include <chrono>
#include <utility>

#include "core/error.h"
#include "core/log.h"

namespace dvlm {

Ticket::News Ticket::wait(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] { return news_.done || !news_.text.empty(); });
  News out = news_;
  news_.text.clear();
  return out;
}

void Ticket::publish(std::string_view piece) {
  {
    const std::lock_guard lock(mutex_);
    news_.text += stop_.push(piece);
    news_.stopped = stop_.found();
  }
  if (stop_.found()) cancel();
  changed_.notify_all();
}

void Ticket::finish(std::optional<Answer> answer, std::string error, bool ours) {
  const std::lock_guard lock(mutex_);
  if (answer) {
    answer_ = std::move(*answer);
    news_.text += stop_.finish();
  }
  news_.error = std::move(error);
  news_.ours = ours;
  news_.done = true;
  changed_.notify_all();
}

Worker::Worker(Engine& engine, size_t most_waiting)
    : engine_(engine), most_waiting_(most_waiting), thread_([this] { work(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (current_) current_->cancel();
    for (const auto& ticket : waiting_) ticket->cancel();
  }
  arrived_.notify_all();
  thread_.join();
}

std::shared_ptr<Ticket> Worker::submit(Request request, std::vector<std::string> stop) {
  auto ticket = std::make_shared<Ticket>(std::move(request), std::move(stop));
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= most_waiting_) {
      ++totals_.refused;
      return nullptr;
    }
    waiting_.push_back(ticket);
  }
  arrived_.notify_one();
  return ticket;
}

WorkerTotals Worker::totals() const {
  const std::lock_guard lock(mutex_);
  WorkerTotals out = totals_;
  out.waiting = waiting_.size();
  out.busy = current_ != nullptr;
  return out;
}

void Worker::work() {
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

void Worker::answer(Ticket& ticket) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<Answer> answer;
  std::string error;
  bool ours = false;
  try {
    if (ticket.cancelled_) fail("the request was given up before its turn came");
    answer = engine_.generate(
        ticket.request_, [&](std::string_view piece) { ticket.publish(piece); },
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
    totals_.failed += !answer;
    totals_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (answer) {
      totals_.cancelled += answer->finish == FinishReason::cancelled;
      totals_.prompt_tokens += static_cast<uint64_t>(answer->prompt_tokens);
      totals_.reused_tokens += static_cast<uint64_t>(answer->reused_tokens);
      totals_.tokens += answer->tokens.size();
      totals_.passes += static_cast<uint64_t>(answer->stats.nfe + answer->stats.prefill_passes);
    }
  }
  ticket.finish(std::move(answer), std::move(error), ours);
}

}  // namespace dvlm
