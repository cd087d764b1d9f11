// Errors that a user can act on, and assertions for our own bugs.
#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace dvlm {

// Text from outside made safe for one line of a message: control bytes and invalid UTF-8 become '?', and
// the rest is cut after `limit` bytes with "...".
std::string printable(std::string_view text, size_t limit = 120);

// What was wrong, where, and what to do: one sentence for the user, no stack trace. Names of files and what
// else is quoted in it cannot break its line.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string_view sentence) : std::runtime_error(printable(sentence, std::string::npos)) {}
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace dvlm

// For conditions that only a bug of ours can break. Checked in every build: they guard loops, not elements.
#define DVLM_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::dvlm::assertion_failed(#condition, __FILE__, __LINE__))
