// Whole-file reading and atomic writing.
#pragma once
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

namespace dvlm {

// Throws Error when the file is missing, unreadable, larger than `limit` bytes or a pointer of Git LFS.
std::string read_file(const std::filesystem::path& path, size_t limit = size_t{1} << 30);

// Throws Error where the bytes of a file are the few lines that Git LFS leaves in place of what it did not
// download.
void refuse_lfs_pointer(std::string_view content, const std::filesystem::path& path);

// Writes beside the target, flushes to the disk and renames: readers, and whoever comes after a power cut,
// see the old file or the new one, never half of it. Throws Error naming the path.
void write_file(const std::filesystem::path& path, std::string_view content);

// The same for what is written in pieces.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();  // without commit() the target stays as it was
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void append(const void* data, size_t bytes);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail_to_write() const;
  std::filesystem::path path_, partial_;
  FILE* file_ = nullptr;
};

}  // namespace dvlm
