// The terminal that people read.
#pragma once
#include <sys/ioctl.h>

#include <cstddef>
#include <optional>

namespace dvlm {

// How wide it is; none where the stream is no terminal, or a terminal that does not say.
inline std::optional<size_t> terminal_columns(int stream) {
  winsize size{};
  if (::ioctl(stream, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return {};
  return size.ws_col;
}

}  // namespace dvlm
