#include "kernels/mapped_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "core/error.h"

namespace dvlm {

namespace {

// The largest page of common systems, huge pages aside: munmap cuts at a multiple of it.
constexpr size_t kLargestPage = size_t{64} << 10;
constexpr size_t kRegion = size_t{1} << 30;

std::byte* map(size_t bytes) {
  void* mapped =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  ::madvise(mapped, bytes, MADV_HUGEPAGE);  // a wish; refusal costs only speed
  return static_cast<std::byte*>(mapped);
}

// Matrices lie side by side in regions of address space, because the first and last piece of a mapping that
// do not fill a huge page get small ones: some 7 % of the weights if each matrix were mapped alone. Every
// holder unmaps its own part.
std::byte* take(size_t bytes) {
  static std::mutex mutex;
  static std::byte* region = nullptr;
  static size_t left = 0;
  const std::lock_guard lock(mutex);
  if (bytes > left) {
    if (bytes >= kRegion / 2) return map(bytes);
    std::byte* fresh = map(kRegion);
    if (!fresh) return map(bytes);  // address space may be limited
    if (left > 0) ::munmap(region, left);
    region = fresh;
    left = kRegion;
  }
  left -= bytes;
  return std::exchange(region, region + bytes);
}

size_t whole_pages(size_t bytes) {
  return (bytes + kLargestPage - 1) / kLargestPage * kLargestPage;
}

}  // namespace

MappedMemory::MappedMemory(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  data_ = take(whole_pages(bytes));
  if (!data_) {
    size_ = 0;
    fail("cannot allocate {:.1f} MiB of memory: {}", static_cast<double>(bytes) / (1 << 20),
         std::strerror(errno));
  }
}

MappedMemory::~MappedMemory() {
  if (data_) ::munmap(data_, whole_pages(size_));
}

}  // namespace dvlm
