#include "model/memory_budget.h"

#include <algorithm>

#include "core/error.h"
#include "core/machine.h"
#include "core/memory.h"

namespace dvlm {

size_t MemoryBudget::free() const {
  return limit_ == 0 ? available_memory_bytes() : limit_ - std::min(limit_, used_.load());
}

void MemoryBudget::reserve(size_t bytes, const char* what) {
  const size_t used = used_.fetch_add(bytes);
  const size_t free = limit_ == 0 ? available_memory_bytes() : limit_ - std::min(limit_, used);
  if (bytes <= free) return;
  used_ -= bytes;
  fail("{} needs {} of memory but only {} are free{}", what, bytes_text(static_cast<double>(bytes)),
       bytes_text(static_cast<double>(free)),
       limit_ == 0 ? "; close other programs or use a smaller model or a shorter context"
                   : " under the limit that was set; raise it, or use a smaller model or a shorter context");
}

}  // namespace dvlm
