#include "core/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"

namespace dvlm {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path, size_t limit) {
  std::error_code error;
  if (fs::is_directory(path, error)) fail("cannot read {}: it is a folder, not a file", path.string());
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) fail("cannot open {}: {}", path.string(), std::strerror(errno));
  std::string content;
  char chunk[1 << 16];
  while (const size_t got = std::fread(chunk, 1, sizeof chunk, file.get())) {
    if (content.size() + got > limit)
      fail("{} is larger than the {} bytes allowed here", path.string(), limit);
    content.append(chunk, got);
  }
  if (std::ferror(file.get())) fail("cannot read {}: {}", path.string(), std::strerror(errno));
  refuse_lfs_pointer(content, path);
  return content;
}

void refuse_lfs_pointer(std::string_view content, const fs::path& path) {
  if (content.starts_with("version https://git-lfs.github.com/spec/"))
    fail("{} is a Git LFS pointer instead of the file itself: run git lfs pull in its folder", path.string());
}

FileWriter::FileWriter(fs::path path) : path_(std::move(path)) {
  // A name of its own: two processes may write the same target at once.
  static std::atomic<unsigned> count{0};
  int descriptor = -1;
  for (int attempt = 0; attempt < 100 && descriptor < 0; ++attempt) {
    partial_ = fmt::format("{}.{}-{}.partial", path_.string(), ::getpid(), count++);
    descriptor = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno != EEXIST) break;
  }
  if (descriptor < 0) fail_to_write();
  file_ = ::fdopen(descriptor, "wb");
  if (!file_) {
    ::close(descriptor);
    fail_to_write();
  }
}

FileWriter::~FileWriter() {
  if (!file_) return;
  std::fclose(file_);
  std::remove(partial_.c_str());
}

void FileWriter::fail_to_write() const {
  fail("cannot write {}: {}", path_.string(), std::strerror(errno));
}

void FileWriter::append(const void* data, size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) fail_to_write();
}

void FileWriter::commit() {
  // Some file systems cannot sync, and say so by EINVAL or ENOTSUP.
  if (std::fflush(file_) != 0 || (::fsync(::fileno(file_)) != 0 && errno != EINVAL && errno != ENOTSUP))
    fail_to_write();
  if (std::fclose(std::exchange(file_, nullptr)) != 0 || std::rename(partial_.c_str(), path_.c_str()) != 0) {
    const int reason = errno;
    std::remove(partial_.c_str());
    errno = reason;
    fail_to_write();
  }
}

void write_file(const fs::path& path, std::string_view content) {
  FileWriter file(path);
  file.append(content);
  file.commit();
}

}  // namespace dvlm
