#include "model/memory_budget.h"

#include <algorithm>

#include "core/error.h"
#include "core/machine.h"
#include "core/memory.h"

namespace dvlm {

MemoryBudget::MemoryBudget(size_t limit)
    : of_machine_(limit == 0), limit_(of_machine_ ? available_memory_bytes() : limit) {}

// What is reserved may not be touched yet: then the machine still calls it free.
size_t MemoryBudget::free_beside(size_t used) const {
  const size_t left = limit_ - std::min(limit_, used);
  return of_machine_ ? std::min(left, available_memory_bytes()) : left;
}

size_t MemoryBudget::free() const {
  return free_beside(used_.load());
}

void MemoryBudget::reserve(size_t bytes, const char* what) {
  const size_t used = used_.fetch_add(bytes);
  const size_t free = free_beside(used);
  if (bytes <= free) return;
  used_ -= bytes;
  fail("{} needs {} of memory but only {} are free{}", what, bytes_text(static_cast<double>(bytes)),
       bytes_text(static_cast<double>(free)),
       of_machine_ ? "; close other programs or use a smaller model or a shorter context"
                   : " under the limit that was set; raise it, or use a smaller model or a shorter context");
}

}  // namespace dvlm
