#include "core/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace dvlm {

namespace {

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
      last_(start_) {}

Progress::~Progress() {
  if (terminal_ && shown_) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& note) {
  const auto now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double since = std::chrono::duration<double>(now - last_).count();
  const bool last = total_ > 0 && done >= total_;
  if (elapsed < 2.0 || (since < (terminal_ ? 0.1 : 30.0) && !(last && shown_))) return;
  last_ = now, shown_ = true;
  const double share =
      total_ > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total_)) : 0.0;
  std::string line = title_;
  if (total_ > 0) {
    constexpr int kWidth = 24;
    const int filled = static_cast<int>(share * kWidth);
    if (terminal_)
      line += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(kWidth - filled, '.'));
    line += fmt::format(" {:3.0f}% {}/{}", share * 100, done, total_);
    if (share > 0) line += fmt::format(", {} left", clock_text(elapsed * (1 - share) / share));
  } else {
    line += fmt::format(" {}", done);
  }
  if (!note.empty()) line += ", " + note;
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
}

}  // namespace dvlm
