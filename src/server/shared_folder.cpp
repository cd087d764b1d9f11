#include "server/shared_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr int kFolder = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// O_NONBLOCK: opening must not wait for a pipe or a terminal that has taken the file's place.
constexpr int kFile = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;

// `relative` goes down from `top`, both canonical. Follows no symbolic link: one that appears after the paths
// were compared ends it.
int open_below(const fs::path& top, const fs::path& relative) {
  int folder = ::open(top.c_str(), kFolder);
  for (auto step = relative.begin(); folder >= 0 && step != relative.end(); ++step) {
    const bool last = std::next(step) == relative.end();
    const int next = ::openat(folder, step->c_str(), last ? kFile : kFolder);
    ::close(folder);
    if (last) return next;
    folder = next;
  }
  if (folder >= 0) ::close(folder);
  return -1;
}

}  // namespace

std::optional<SharedFile> SharedFile::open(const fs::path& root, const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return {};
  std::error_code error;
  const fs::path top = fs::canonical(root, error);
  if (error) return {};
  const fs::path path = fs::canonical(top / name, error);
  if (error || !fs::is_regular_file(path, error)) return {};
  const fs::path relative = path.lexically_relative(top);
  if (relative.empty() || *relative.begin() == ".." || *relative.begin() == ".") return {};
  const int descriptor = open_below(top, relative);
  if (descriptor < 0) return {};
  struct stat found {};
  SharedFile file(path, descriptor, 0);
  if (::fstat(descriptor, &found) != 0 || !S_ISREG(found.st_mode)) return {};
  file.size_ = static_cast<size_t>(found.st_size);
  return file;
}

SharedFile::SharedFile(SharedFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

SharedFile::~SharedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::optional<std::string> SharedFile::read(size_t limit) const {
  if (size_ > limit) return {};
  std::string content;
  char chunk[1 << 16];
  for (;;) {
    const ssize_t got = ::read(descriptor_, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || static_cast<size_t>(got) > limit - content.size()) return {};
    if (got == 0) return content;
    content.append(chunk, static_cast<size_t>(got));
  }
}

}  // namespace dvlm
