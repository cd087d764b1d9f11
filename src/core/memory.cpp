#include "core/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace {

// What is mapped, for a signal handler: it may neither lock nor allocate.
struct MappedRange {
  std::atomic<const std::byte*> begin{nullptr};
  size_t size = 0;
  char path[256] = {};
};
std::array<MappedRange, 256> mapped_ranges;  // files beyond these are not named
std::mutex mapped_ranges_mutex;

void remember(const std::byte* data, size_t size, const std::string& path) {
  const std::lock_guard lock(mapped_ranges_mutex);
  for (MappedRange& range : mapped_ranges) {
    if (range.begin.load()) continue;
    range.size = size;
    range.path[path.copy(range.path, sizeof range.path - 1)] = 0;
    range.begin = data;
    return;
  }
}

void forget(const std::byte* data) {
  const std::lock_guard lock(mapped_ranges_mutex);
  for (MappedRange& range : mapped_ranges)
    if (range.begin == data) range.begin = nullptr;
}

void write_error(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

void on_bus_error(int signal, siginfo_t* info, void*) {
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  for (const MappedRange& range : mapped_ranges) {
    const std::byte* begin = range.begin.load();
    if (!begin || at < begin || at >= begin + range.size) continue;
    write_error("\ndvlm: error: ");
    write_error(range.path);
    write_error(" became shorter while it was in use, or its disk cannot be read\n");
    ::_exit(1);
  }
  ::signal(signal, SIG_DFL);  // not ours to explain: the instruction runs again and ends the process
}

}  // namespace

void explain_lost_files() {
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const InputFile file(path);
  size_ = file.size();
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (mapped == MAP_FAILED) fail("cannot map {}: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
  remember(data_, size_, path.string());
}

MappedFile::~MappedFile() {
  if (!data_) return;
  forget(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

std::string bytes_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

size_t peak_rss_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace dvlm
