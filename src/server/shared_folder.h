// Files below one folder, named by strangers.
#pragma once
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace dvlm {

// A regular file that was below the folder when it was opened; closes itself.
class SharedFile {
 public:
  // Nothing for all that is not a regular file below `root`, symbolic links resolved, or cannot be opened:
  // the caller cannot tell why. `name`: relative to `root`, or absolute.
  static std::optional<SharedFile> open(const std::filesystem::path& root, const std::string& name);

  SharedFile(SharedFile&& other) noexcept;
  SharedFile& operator=(SharedFile&&) = delete;
  ~SharedFile();

  const std::filesystem::path& path() const { return path_; }  // canonical
  size_t size() const { return size_; }
  // Nothing when it holds more than `limit` bytes or cannot be read.
  std::optional<std::string> read(size_t limit) const;

 private:
  SharedFile(std::filesystem::path path, int descriptor, size_t size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  std::filesystem::path path_;
  int descriptor_ = -1;
  size_t size_ = 0;
};

}  // namespace dvlm
