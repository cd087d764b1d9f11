#include "core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/checksum.h"
#include "core/error.h"
#include "core/finally.h"
#include "core/interrupt.h"
#include "core/memory.h"

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

uint64_t fingerprint(std::string_view content) {
  constexpr size_t kWhole = size_t{64} << 20, kPiece = 4096, kPieces = 1024;
  if (content.size() <= kWhole) return checksum(content);
  std::string pieces = std::to_string(content.size());
  for (size_t i = 0; i <= kPieces; ++i)
    pieces += content.substr((content.size() - kPiece) / kPieces * i, kPiece);
  pieces += content.substr(content.size() - kPiece);
  return checksum(pieces);
}

std::string fingerprint_of_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return "";
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return fmt::format("{:016x}", fingerprint({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

std::string fingerprint_of_files(const fs::path& folder, std::initializer_list<std::string_view> endings) {
  std::vector<std::string> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const auto ends_so = [&](std::string_view ending) { return name.ends_with(ending); };
    if (std::ranges::any_of(endings, ends_so)) all.push_back(name + fingerprint_of_file(entry.path()));
  }
  std::ranges::sort(all);
  return fmt::format("{:016x}", checksum(fmt::format("{}", fmt::join(all, "\n"))));
}

void refuse_lfs_pointer(std::string_view content, const fs::path& path) {
  if (content.starts_with("version https://git-lfs.github.com/spec/"))
    fail("{} is a Git LFS pointer instead of the file itself: run git lfs pull in its folder", path.string());
}

namespace {

constexpr std::string_view kPartial = ".partial";

// Who still writes a file holds a lock.
void remove_unlocked(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (file < 0) return;
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) ::unlink(path.c_str());
  ::close(file);
}

// What writers of `path` left that were killed. A folder is listed once: it may hold the pictures of a data
// set, each of them written like this.
void remove_orphans(const fs::path& path) {
  static std::mutex mutex;
  static std::map<fs::path, std::vector<std::string>> partials_of;  // by folder
  const std::string begin = path.filename().string() + ".";
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const std::scoped_lock lock(mutex);
  const auto [found, is_new] = partials_of.try_emplace(folder);
  std::error_code error;
  fs::directory_iterator at, end;
  if (is_new) at = fs::directory_iterator(folder, error);
  for (; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    if (name.ends_with(kPartial)) found->second.push_back(std::move(name));
  }
  std::erase_if(found->second, [&](const std::string& name) {
    const bool mine = name.starts_with(begin) &&
                      name.find_first_not_of("0123456789-", begin.size()) == name.size() - kPartial.size();
    if (mine) remove_unlocked(folder / name);
    return mine;
  });
}

}  // namespace

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
}

FileWriter::FileWriter(fs::path path) : path_(std::move(path)) {
  // A name of its own: two processes may write the same target at once.
  static std::atomic<unsigned> count{0};
  remove_orphans(path_);
  int descriptor = -1;
  for (int attempt = 0; attempt < 100 && descriptor < 0; ++attempt) {
    partial_ = fmt::format("{}.{}-{}{}", path_.string(), ::getpid(), count++, kPartial);
    descriptor = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno != EEXIST) break;
    // Held while the file is written, so that nobody takes it for an orphan.
    struct stat info = {};
    if (descriptor >= 0 && ::flock(descriptor, LOCK_EX) == 0 && ::fstat(descriptor, &info) == 0 &&
        info.st_nlink == 0)
      ::close(std::exchange(descriptor, -1));  // somebody has
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
  // The lock stays until the file has its name, and an error of closing counts while there is the old file.
  const int lock = ::fcntl(::fileno(file_), F_DUPFD_CLOEXEC, 0);
  const Finally unlocking([&] { ::close(lock); });
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
