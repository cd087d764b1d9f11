#include "core/files.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
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
  return content;
}

FileWriter::FileWriter(fs::path path)
    : path_(std::move(path)),
      partial_(path_.string() + ".partial"),
      file_(std::fopen(partial_.c_str(), "wb")) {
  if (!file_) fail_to_write();
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
