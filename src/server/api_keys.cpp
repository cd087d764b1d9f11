#include "server/api_keys.h"

#include <algorithm>
#include <sstream>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

std::vector<std::string> read_api_keys(const std::filesystem::path& file) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";  // which some editors write in front
  std::vector<std::string> keys;
  std::string content = read_file(file, size_t{1} << 20);
  if (content.starts_with(kMark)) content.erase(0, kMark.size());
  std::istringstream text(content);
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    const std::string_view key = trim(line);
    if (key.empty() || key[0] == '#') continue;
    if (!std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 127; }))
      fail("{}, line {}: a key consists of visible ASCII characters without spaces", file.string(), number);
    keys.emplace_back(key);
  }
  if (keys.empty()) fail("{} holds no API key: give one per line", file.string());
  return keys;
}

}  // namespace dvlm
