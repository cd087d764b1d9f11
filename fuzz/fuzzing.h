// What fuzzers share: what an Error may say, input taken apart, and places for readers of files to read. A
// fuzzer says what must hold by DVLM_ASSERT, which ends the process in every build.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace dvlm::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Errors are shown in terminals, logs and answers: one line, of no more than a few paths and values.
inline void check_sentence(std::string_view text) {
  constexpr size_t kLongest = 2000;
  DVLM_ASSERT(!text.empty() && text.size() <= kLongest && is_valid_utf8(text));
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = next_utf8(text, at);
    DVLM_ASSERT(c.code >= 0x20 && !(c.code >= 0x7f && c.code < 0xa0));
    at += c.length;
  }
}

// Whether `read` takes its input; it may refuse it by an Error, and by nothing else.
template <class Read>
bool accepts(const Read& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    check_sentence(error.what());
    return false;
  }
}

// Takes numbers from the front of the input and text from what is left; zeros and nothing behind its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(text_of(data, size)) {}

  bool empty() const { return left_.empty(); }
  std::string_view take(size_t count) {
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(taken.size());
    return taken;
  }
  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (const char c : take(bytes)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  uint32_t below(uint32_t limit) { return number(limit > 256 ? 2 : 1) % limit; }
  std::string_view line() {
    const std::string_view taken = take(left_.find('\n'));
    take(1);
    return taken;
  }
  std::string_view rest() { return take(left_.size()); }

 private:
  std::string_view left_;
};

// A file without a place on the disk: nothing is left behind, and nothing waits for a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    DVLM_ASSERT(descriptor_ >= 0);
    while (!content.empty()) {
      const ssize_t written = ::write(descriptor_, content.data(), content.size());
      DVLM_ASSERT(written > 0);
      content.remove_prefix(static_cast<size_t>(written));
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int descriptor() const { return descriptor_; }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  const int descriptor_;
};

// A folder of this process, in memory where the system has such a place, whose files change with each input.
class Folder {
 public:
  Folder() {
    const bool shared = ::access("/dev/shm", W_OK) == 0;
    std::string pattern =
        (shared ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) /
        "dvlm-fuzz-XXXXXX";
    DVLM_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void put(const std::string& name, std::string_view content) {
    std::ofstream(path_ / name, std::ios::binary) << content;
    files_.insert(name);
  }
  // Not by read_file(), which refuses some.
  std::string text(const std::string& name) const {
    std::ifstream file(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void clear() {
    for (const std::string& name : files_) std::filesystem::remove(path_ / name);
    files_.clear();
  }

 private:
  std::filesystem::path path_;
  std::set<std::string> files_;
};

}  // namespace dvlm::fuzz
