#include "core/log.h"

#include <poll.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <mutex>
#include <set>

namespace dvlm {

namespace {

// Where nobody looks on: what reads a pipe may have stopped.
class StandardErrorSink : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    standard_error().write({line.data(), line.size()});
  }
  void flush_() override {}
};

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = ::isatty(STDERR_FILENO)
                    ? spdlog::stderr_color_mt("dvlm")
                    : std::make_shared<spdlog::logger>("dvlm", std::make_shared<StandardErrorSink>());
    made->set_pattern("%^%l%$: %v");
    const char* level = std::getenv("DVLM_LOG");
    made->set_level(level ? spdlog::level::from_str(level) : spdlog::level::warn);
    return made;
  }();
  return *instance;
}

}  // namespace

void LineWriter::write(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (cut_ && !put("\n")) {
    ++dropped_;
    return;
  }
  cut_ = false;
  if (dropped_ > 0 &&
      put(fmt::format("dvlm: {} lines of the log were dropped: nobody read them\n", dropped_)))
    dropped_ = 0;
  if (dropped_ > 0 || !put(line)) ++dropped_;
}

// A pipe that can be written to takes PIPE_BUF bytes at least.
bool LineWriter::put(std::string_view text) {
  for (bool begun = false; !text.empty(); begun = true) {
    struct pollfd ready = {.fd = descriptor_, .events = POLLOUT, .revents = 0};
    const bool taken = ::poll(&ready, 1, 0) > 0 && (ready.revents & POLLOUT) != 0;
    const ssize_t done =
        taken ? ::write(descriptor_, text.data(), std::min<size_t>(text.size(), PIPE_BUF)) : -1;
    if (done <= 0) {
      cut_ = cut_ || begun;
      return false;
    }
    text.remove_prefix(static_cast<size_t>(done));
  }
  return true;
}

LineWriter& standard_error() {
  static LineWriter writer(STDERR_FILENO);
  return writer;
}

void log(LogLevel level, const std::string& line) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::err, spdlog::level::warn,
                                                   spdlog::level::info, spdlog::level::debug};
  logger().log(kLevels[static_cast<int>(level)], line);
}

void log_once(LogLevel level, const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(line).second) log(level, line);
}

}  // namespace dvlm
