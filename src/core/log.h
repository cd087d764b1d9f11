// Log lines on stderr; the level comes from DVLM_LOG (error, warn, info, debug; default warn).
#pragma once
#include <fmt/core.h>

#include <string>

namespace dvlm {

enum class LogLevel { error, warning, info, debug };

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
