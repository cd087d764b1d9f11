#include "core/error.h"

#include <cstdio>
#include <cstdlib>

#include "core/utf8.h"

namespace dvlm {

std::string printable(std::string_view text, size_t limit) {
  std::string safe;
  size_t at = 0;
  while (at < text.size()) {
    if (safe.size() >= limit) return safe + "...";
    const Utf8Char c = next_utf8(text, at);
    if (!c.valid || c.code < 0x20 || (c.code >= 0x7f && c.code < 0xa0))
      safe += '?';
    else
      safe.append(text.substr(at, c.length));
    at += c.length;
  }
  return safe;
}

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "dvlm: internal error: %s does not hold (%s:%d); please report this\n", condition,
               file, line);
  std::abort();
}

}  // namespace dvlm
