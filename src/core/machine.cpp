#include "core/machine.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>

#include "core/ascii.h"

namespace dvlm {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    if (const size_t colon = line.find(':'); colon != line.npos)
      return std::string(trim(std::string_view(line).substr(colon + 1)));
  }
  return "unknown processor";
}

namespace {

// The number behind `key` in a file of lines "key number", or the file's only number without a key.
std::optional<size_t> number_in(const std::filesystem::path& path, const std::string& key = {}) {
  std::ifstream file(path);
  std::string word;
  while (!key.empty() && file >> word && word != key) file.ignore(256, '\n');
  size_t number = 0;
  if (file >> number) return number;
  return {};
}

}  // namespace

size_t group_memory_bytes(const std::filesystem::path& root, const std::string& membership) {
  constexpr std::string_view kVersion2 = "0::/";
  const size_t line = membership.starts_with(kVersion2) ? 0 : membership.find("\n0::/");
  size_t least = SIZE_MAX;
  if (line == membership.npos) return least;
  const size_t begin = membership.find(kVersion2, line) + kVersion2.size();
  const std::string name = membership.substr(begin, membership.find('\n', begin) - begin);
  std::filesystem::path folder = root;
  const auto look = [&] {
    const auto limit = number_in(folder / "memory.max"), used = number_in(folder / "memory.current");
    if (!limit || !used) return;
    const size_t files = number_in(folder / "memory.stat", "file").value_or(0);
    const size_t kept = *used - std::min(files, *used);
    least = std::min(least, *limit - std::min(kept, *limit));
  };
  look();
  for (const auto& part : std::filesystem::path(name)) {
    folder /= part;
    look();
  }
  return least;
}

size_t available_memory_bytes() {
  std::ifstream file("/proc/self/cgroup");
  const std::string membership(std::istreambuf_iterator<char>(file), {});
  const auto kilobytes = number_in("/proc/meminfo", "MemAvailable:");
  return std::min(kilobytes ? *kilobytes * 1024 : SIZE_MAX, group_memory_bytes("/sys/fs/cgroup", membership));
}

std::filesystem::path cache_folder() {
  if (const char* given = std::getenv("DVLM_CACHE")) return given;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return std::filesystem::path(cache) / "dvlm";
  if (const char* home = std::getenv("HOME"); home && *home == '/')
    return std::filesystem::path(home) / ".cache" / "dvlm";
  return {};
}

}  // namespace dvlm
