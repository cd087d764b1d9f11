#include "core/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "core/terminal.h"
#include "core/utf8.h"

namespace dvlm {

namespace {

// Seconds: before the first line, between lines without and with news, and where stderr is no terminal.
constexpr double kSilent = 0.5, kTick = 1, kRedraw = 0.1, kLines = 30;
constexpr size_t kLeastBar = 4, kMaxBar = 24;  // columns

std::string clock_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::string title, int64_t total)
    : title_(std::move(title)),
      total_(total),
      terminal_(::isatty(2) != 0),
      start_(Clock::now()),
      last_(start_),
      ticker_([this](const std::stop_token& ended) { tick(ended); }) {}

Progress::~Progress() {
  ticker_.request_stop();
  ticker_.join();
  if (terminal_ && shown_) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& note) {
  const std::lock_guard lock(mutex_);
  done_ = done;
  note_ = printable(note);
  const bool last = total_ > 0 && done >= total_;
  if (seconds_since(start_) >= kSilent &&
      (seconds_since(last_) >= (terminal_ ? kRedraw : kLines) || (last && shown_)))
    draw();
}

void Progress::say(const std::string& line) {
  const std::lock_guard lock(mutex_);
  std::fprintf(stderr, "%s%s\n", terminal_ && shown_ ? "\r\033[K" : "", line.c_str());
  if (shown_) draw();
}

void Progress::tick(const std::stop_token& ended) {
  std::unique_lock lock(mutex_);
  while (!ending_.wait_for(lock, ended, std::chrono::milliseconds(250),
                           [&] { return ended.stop_requested(); })) {
    if (seconds_since(start_) >= kSilent && seconds_since(last_) >= (terminal_ ? kTick : kLines)) draw();
  }
}

void Progress::draw() {
  last_ = Clock::now(), shown_ = true;
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line(seconds_since(start_)).c_str());
  std::fflush(stderr);
}

std::string Progress::line(double elapsed) const {
  double share = 0;
  std::string rest = fmt::format(" {}", done_);
  if (total_ > 0) {
    share = std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
    rest = fmt::format(" {:3.0f}% {}/{}", share * 100, done_, total_);
    if (share > 0) rest += fmt::format(", {} left", clock_text(elapsed * (1 - share) / share));
  }
  rest += fmt::format(", {} so far", clock_text(elapsed));
  if (!note_.empty()) rest += ", " + note_;
  if (!terminal_) return title_ + rest;
  // A line that the terminal wraps could not be drawn over.
  const size_t columns = terminal_columns(STDERR_FILENO).value_or(120) - 1,
               used = title_.size() + rest.size() + 3;
  std::string out = title_;
  if (total_ > 0 && used + kLeastBar <= columns) {
    const size_t bar = std::min(kMaxBar, columns - used),
                 filled = static_cast<size_t>(share * static_cast<double>(bar));
    out += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(bar - filled, '.'));
  }
  out += rest;
  if (out.size() > columns) out.resize(complete_utf8_prefix(std::string_view(out).substr(0, columns)));
  return out;
}

}  // namespace dvlm
