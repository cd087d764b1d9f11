#include "core/machine.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

#include "core/ascii.h"

namespace dvlm {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string numbers;  // where it has no name: ARM's
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const size_t colon = std::min(line.find(':'), line.size() - 1);
    const std::string_view value = trim(std::string_view(line).substr(colon + 1));
    if (line.starts_with("model name")) return std::string(value);
    for (const char* key : {"CPU implementer", "CPU variant", "CPU part"})
      if (line.starts_with(key)) numbers += (numbers.empty() ? "" : " ") + std::string(value);
  }
  return numbers.empty() ? "unknown processor" : numbers;
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

// The folders of a process's group of version 2 and of those around it, outermost first; none without one.
std::vector<std::filesystem::path> group_folders(const std::filesystem::path& root,
                                                 const std::string& membership) {
  constexpr std::string_view kVersion2 = "0::/";
  const size_t line = membership.starts_with(kVersion2) ? 0 : membership.find("\n0::/");
  if (line == membership.npos) return {};
  const size_t begin = membership.find(kVersion2, line) + kVersion2.size();
  const std::string name = membership.substr(begin, membership.find('\n', begin) - begin);
  std::vector<std::filesystem::path> out = {root};
  for (const auto& part : std::filesystem::path(name)) out.push_back(out.back() / part);
  return out;
}

constexpr const char* kGroups = "/sys/fs/cgroup";

std::string own_membership() {
  std::ifstream file("/proc/self/cgroup");
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

size_t group_memory_bytes(const std::filesystem::path& root, const std::string& membership) {
  size_t least = SIZE_MAX;
  for (const std::filesystem::path& folder : group_folders(root, membership)) {
    const auto limit = number_in(folder / "memory.max"), used = number_in(folder / "memory.current");
    if (!limit || !used) continue;
    const size_t files = number_in(folder / "memory.stat", "file").value_or(0);
    const size_t kept = *used - std::min(files, *used);
    least = std::min(least, *limit - std::min(kept, *limit));
  }
  return least;
}

int group_processors(const std::filesystem::path& root, const std::string& membership) {
  int least = INT_MAX;
  for (const std::filesystem::path& folder : group_folders(root, membership)) {
    double quota = 0, period = 0;  // microseconds; "max" is no number: no limit
    if (std::ifstream(folder / "cpu.max") >> quota >> period && quota > 0 && period > 0)
      least = std::min(least, static_cast<int>(std::min(std::ceil(quota / period), 1e6)));
  }
  return least;
}

size_t available_memory_bytes() {
  const auto kilobytes = number_in("/proc/meminfo", "MemAvailable:");
  return std::min(kilobytes ? *kilobytes * 1024 : SIZE_MAX, group_memory_bytes(kGroups, own_membership()));
}

int processor_quota() {
  return group_processors(kGroups, own_membership());
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
