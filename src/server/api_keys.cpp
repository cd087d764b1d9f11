#include "server/api_keys.h"

#include <algorithm>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

std::vector<std::string> read_api_keys(const std::filesystem::path& file) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";  // which some editors write in front
  std::vector<std::string> keys;
  read_lines(file, [&](int number, std::string_view line) {
    if (number == 1 && line.starts_with(kMark)) line.remove_prefix(kMark.size());
    const std::string_view key = trim(line);
    if (key.empty() || key[0] == '#') return true;
    if (!std::ranges::all_of(key, [](char c) { return c > ' ' && c < 127; }))
      fail("{}, line {}: a key consists of visible ASCII characters without spaces", file.string(), number);
    keys.emplace_back(key);
    return true;
  });
  if (keys.empty()) fail("{} holds no API key: give one per line", file.string());
  return keys;
}

}  // namespace dvlm
