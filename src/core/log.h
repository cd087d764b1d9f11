// Log lines on stderr; the level comes from DVLM_LOG (error, warn, info, debug; default warn).
#pragma once
#include <fmt/core.h>

#include <mutex>
#include <string>
#include <string_view>

namespace dvlm {

enum class LogLevel { error, warning, info, debug };

// Writes a line, its end included, to a descriptor without ever waiting for who reads it: what a full pipe
// does not take is dropped, and told as soon as it takes lines again. From any thread.
class LineWriter {
 public:
  explicit LineWriter(int descriptor) : descriptor_(descriptor) {}
  void write(std::string_view line);

 private:
  bool put(std::string_view text);

  const int descriptor_;
  std::mutex mutex_;
  size_t dropped_ = 0;
  bool cut_ = false;  // in the middle of a line
};
LineWriter& standard_error();

void log(LogLevel level, const std::string& line);
void log_once(LogLevel level, const std::string& line);  // not again in this process

template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
// For what is true of a file, however often it is read.
template <class... Args>
void log_warning_once(fmt::format_string<Args...> format, Args&&... args) {
  log_once(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dvlm
