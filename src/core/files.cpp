#include "core/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

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

void write_file(const fs::path& path, std::string_view content) {
  const fs::path partial = path.string() + ".partial";
  {
    std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(partial.c_str(), "wb"), std::fclose);
    if (!file) fail("cannot write {}: {}", path.string(), std::strerror(errno));
    if (std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
        std::fflush(file.get()) != 0)
      fail("cannot write {}: {}", path.string(), std::strerror(errno));
  }
  std::error_code error;
  fs::rename(partial, path, error);
  if (error) fail("cannot write {}: {}", path.string(), error.message());
}

}  // namespace dvlm
