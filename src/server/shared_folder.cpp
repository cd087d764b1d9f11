#include "server/shared_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/error.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr int kFolder = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// O_NONBLOCK: opening must not wait for a pipe or a terminal that has taken the file's place.
constexpr int kFile = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;

// `relative` goes down from `top`, both canonical. Follows no symbolic link: one that appears after the paths
// were compared ends it.
int open_relative(const fs::path& top, const fs::path& relative) {
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

std::shared_ptr<const InputFile> open_below(const fs::path& root, const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return nullptr;
  std::error_code error;
  const fs::path top = fs::canonical(root, error);
  if (error) return nullptr;
  const fs::path path = fs::canonical(top / name, error);
  if (error || !fs::is_regular_file(path, error)) return nullptr;
  const fs::path relative = path.lexically_relative(top);
  if (relative.empty() || *relative.begin() == ".." || *relative.begin() == ".") return nullptr;
  const int descriptor = open_relative(top, relative);
  if (descriptor < 0) return nullptr;
  try {
    return std::make_shared<const InputFile>(path, descriptor);
  } catch (const Error&) {
    return nullptr;  // something else has taken its place
  }
}

}  // namespace dvlm
