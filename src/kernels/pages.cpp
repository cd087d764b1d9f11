#include "kernels/pages.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace dvlm {

Pages::Pages(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* mapped =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    size_ = 0;
    fail("cannot allocate {:.1f} MiB of memory: {}", static_cast<double>(bytes) / (1 << 20),
         std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(mapped);
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes >= kHugePage) ::madvise(mapped, bytes, MADV_HUGEPAGE);  // a wish; refusal costs only speed
}

Pages::~Pages() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace dvlm
