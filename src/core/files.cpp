#include "core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/finally.h"
#include "core/interrupt.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

// Opening a pipe must not wait for somebody who writes to it.
int open_to_read(const fs::path& path) {
  // The system's calls would end the name there and open another file.
  if (path.native().find('\0') != std::string::npos)
    fail("a path has a zero byte in it: {}", printable(path.string()));
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) fail("cannot open {}: {}", path.string(), std::strerror(errno));
  return file;
}

// Like read(2), but waits for a pipe whose other end is open.
size_t read_some(int file, const fs::path& path, void* to, size_t bytes) {
  for (;;) {
    const ssize_t got = ::read(file, to, bytes);
    if (got >= 0) return static_cast<size_t>(got);
    if (interrupted()) fail("reading {} was interrupted", path.string());
    struct pollfd ready = {.fd = file, .events = POLLIN, .revents = 0};
    if (errno == EAGAIN)
      ::poll(&ready, 1, -1);
    else if (errno != EINTR)
      fail("cannot read {}: {}", path.string(), std::strerror(errno));
  }
}

// Calls `take` with the file's bytes, piece by piece, until it returns false.
void read_pieces(const fs::path& path, const std::function<bool(std::string_view)>& take) {
  const int file = open_to_read(path);
  const Finally closing([&] { ::close(file); });
  struct stat info = {};
  if (::fstat(file, &info) == 0 && S_ISDIR(info.st_mode))
    fail("cannot read {}: it is a folder, not a file", path.string());
  char piece[1 << 16];
  bool empty = true;
  while (const size_t got = read_some(file, path, piece, sizeof piece)) {
    empty = false;
    if (!take({piece, got})) return;
  }
  if (empty && S_ISFIFO(info.st_mode))
    fail("cannot read {}: it is a pipe that nobody writes to", path.string());
}

}  // namespace

std::string read_file(const fs::path& path, size_t limit) {
  std::string content;
  read_pieces(path, [&](std::string_view piece) {
    if (content.size() + piece.size() > limit)
      fail("{} is larger than the {} bytes allowed here", path.string(), limit);
    content.append(piece);
    return true;
  });
  refuse_lfs_pointer(content, path);
  return content;
}

void read_lines(const fs::path& path, const std::function<bool(int, std::string_view)>& take,
                size_t longest) {
  std::string line;
  int number = 0;
  bool going = true;
  const auto end_line = [&] {
    if (++number == 1) refuse_lfs_pointer(line, path);
    going = take(number, line);
    line.clear();
  };
  read_pieces(path, [&](std::string_view piece) {
    while (going && !piece.empty()) {
      const size_t end = std::min(piece.find('\n'), piece.size());
      if (line.size() + end > longest)
        fail("{}, line {}: it is longer than the {} bytes allowed here", path.string(), number + 1, longest);
      line.append(piece.substr(0, end));
      if (end < piece.size()) end_line();
      piece.remove_prefix(std::min(end + 1, piece.size()));
    }
    return going;
  });
  if (going && !line.empty()) end_line();
}

InputFile::InputFile(const fs::path& path) : InputFile(path, open_to_read(path)) {}

InputFile::InputFile(fs::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {
  struct stat info = {};
  if (::fstat(descriptor_, &info) == 0 && S_ISREG(info.st_mode)) {
    size_ = static_cast<size_t>(info.st_size);
    return;
  }
  ::close(descriptor_);
  fail("cannot read {}: it is not a regular file", path_.string());
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

size_t InputFile::read(void* to, size_t bytes, size_t offset) const {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got =
        ::pread(descriptor_, static_cast<char*>(to) + done, bytes - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got < 0 && errno != EINTR) fail("cannot read {}: {}", path_.string(), std::strerror(errno));
    if (got > 0) done += static_cast<size_t>(got);
  }
  return done;
}

fs::path InputFile::reopened() const {
  return fmt::format("/proc/self/fd/{}", descriptor_);
}

std::string read_file(const InputFile& file, size_t limit) {
  if (file.size() > limit) fail("{} is larger than the {} bytes allowed here", file.path().string(), limit);
  std::string content(file.size(), '\0');
  content.resize(file.read(content.data(), content.size(), 0));
  refuse_lfs_pointer(content, file.path());
  return content;
}

std::string file_identity(const std::filesystem::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{} {} {} {}.{:09}\n", path.filename().string(), status.st_size, status.st_ino,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

void refuse_lfs_pointer(std::string_view content, const fs::path& path) {
  if (content.starts_with("version https://git-lfs.github.com/spec/"))
    fail("{} is a Git LFS pointer instead of the file itself: run git lfs pull in its folder", path.string());
}

namespace {

// Creates `path`, locked for as long as it is written. Of a writer that was killed the file is there, but not
// the lock: then it is removed first. -1 and errno: EEXIST when somebody writes it.
int create_locked(const fs::path& path) {
  struct stat opened = {}, named = {};
  for (;;) {
    int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0) {
      ::flock(file, LOCK_EX);
      if (::fstat(file, &opened) != 0 || opened.st_nlink > 0) return file;
      ::close(file);  // somebody took it for an orphan before it was locked
      continue;
    }
    if (errno != EEXIST) return -1;
    file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (file < 0 && errno == ENOENT) continue;
    const Finally closing([&] { ::close(file); });
    const bool orphan = file >= 0 && ::flock(file, LOCK_EX | LOCK_NB) == 0;
    // What was opened may have become the target since, and another writer's file have taken the name.
    const bool same = orphan && ::fstat(file, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
                      opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    if (!orphan || (same && ::unlink(path.c_str()) != 0)) {
      errno = EEXIST;
      return -1;
    }
  }
}

}  // namespace

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
}

FileWriter::FileWriter(fs::path path) : path_(std::move(path)) {
  int descriptor = -1;
  errno = EEXIST;
  // Several may write the same target at once.
  for (int i = 0; i < 100 && descriptor < 0 && errno == EEXIST; ++i) {
    partial_ = fmt::format("{}.{}.partial", path_.string(), i);
    descriptor = create_locked(partial_);
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
  std::remove(partial_.c_str());
  std::fclose(file_);
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
  // While it is locked, so that nobody takes it for an orphan.
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) fail_to_write();
  std::fclose(std::exchange(file_, nullptr));
}

void write_file(const fs::path& path, std::string_view content) {
  FileWriter file(path);
  file.append(content);
  file.commit();
}

void append_line(const fs::path& path, std::string_view line) {
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << line << std::flush;
  if (!file) fail("cannot append to {}: is the disk full?", path.string());
}

namespace {

size_t end_of_last_line(const InputFile& file) {
  std::array<char, 4096> piece{};
  for (size_t end = file.size(); end > 0;) {
    const size_t begin = end - std::min(end, piece.size()),
                 read = file.read(piece.data(), end - begin, begin);
    const size_t at = std::string_view(piece.data(), read).rfind('\n');
    if (at != std::string_view::npos) return begin + at + 1;
    end = begin;
  }
  return 0;
}

}  // namespace

void drop_torn_line(const fs::path& path) {
  const InputFile file(path);
  std::error_code error;
  if (const size_t whole = end_of_last_line(file); whole < file.size()) fs::resize_file(path, whole, error);
  if (error) fail("cannot shorten {}: {}", path.string(), error.message());
}

}  // namespace dvlm
