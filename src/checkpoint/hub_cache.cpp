#include "checkpoint/hub_cache.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Letters, digits and - _ . inside: no way out of a folder.
bool is_word(std::string_view text) {
  constexpr size_t kLongest = 96;
  const auto belongs = [](char c) { return is_letter(c) || c == '-' || c == '_' || c == '.'; };
  return !text.empty() && text.size() <= kLongest && is_letter(text.front()) &&
         std::ranges::all_of(text, belongs) && text.find("..") == text.npos && text.find("--") == text.npos;
}

bool is_revision(std::string_view text) {
  constexpr size_t kLongest = 128;
  if (text.size() > kLongest) return false;
  for (size_t end; (end = text.find('/')) != text.npos; text.remove_prefix(end + 1))
    if (!is_word(text.substr(0, end))) return false;
  return is_word(text);
}

fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? fs::path(value) : fs::path();
}

}  // namespace

std::optional<HubName> hub_name(std::string_view text) {
  HubName out;
  if (const size_t at = text.find('@'); at != text.npos) {
    out.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  const size_t slash = text.find('/');
  if (slash == text.npos || !is_word(text.substr(0, slash)) || !is_word(text.substr(slash + 1)) ||
      !is_revision(out.revision))
    return std::nullopt;
  out.repository = text;
  return out;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

fs::path hub_home() {
  if (fs::path home = from_environment("HF_HOME"); !home.empty()) return home;
  if (const fs::path cache = from_environment("XDG_CACHE_HOME"); !cache.empty()) return cache / "huggingface";
  const fs::path home = from_environment("HOME");
  return home.empty() ? home : home / ".cache" / "huggingface";
}

fs::path hub_cache() {
  if (fs::path cache = from_environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  const fs::path home = hub_home();
  return home.empty() ? home : home / "hub";
}

fs::path hub_folder(const fs::path& cache, const HubName& name) {
  std::string folder = "models--" + name.repository;
  folder.replace(folder.find('/'), 1, "--");
  return cache / folder;
}

fs::path hub_snapshot(const fs::path& cache, const HubName& name) {
  constexpr size_t kLongest = 256;
  if (cache.empty()) return {};
  const fs::path folder = hub_folder(cache, name);
  std::string commit = name.revision;
  std::error_code error;
  if (!is_commit(commit)) {
    const fs::path reference = folder / "refs" / name.revision;
    if (!fs::is_regular_file(reference, error)) return {};
    commit = read_file(reference, kLongest);
    while (!commit.empty() && commit.back() == '\n') commit.pop_back();
    if (!is_commit(commit))
      fail("{} does not hold a commit: remove it and download again", reference.string());
  }
  const fs::path snapshot = folder / "snapshots" / commit;
  return fs::is_directory(snapshot, error) ? snapshot : fs::path();
}

fs::path find_model(const std::string& name) {
  std::error_code error;
  const auto hub = hub_name(name);
  if (!hub || fs::exists(name, error)) return name;
  const fs::path cache = hub_cache();
  fs::path found = hub_snapshot(cache, *hub);
  if (!found.empty()) return found;
  fail(
      "there is no folder {0}, and the hub's cache {1} has no model of that name: `dvlm pull {0}` downloads "
      "it",
      name, cache.string());
}

}  // namespace dvlm
