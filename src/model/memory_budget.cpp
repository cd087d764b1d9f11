#include "model/memory_budget.h"

#include <algorithm>

#include "core/error.h"
#include "core/memory.h"

namespace dvlm {

void MemoryBudget::reserve(size_t bytes, const char* what) {
  const size_t used = used_.fetch_add(bytes);
  const size_t free = limit_ == 0 ? available_memory_bytes() : limit_ - std::min(limit_, used);
  if (bytes <= free) return;
  used_ -= bytes;
  constexpr double kGiB = 1 << 30;
  fail("{} needs {:.2f} GiB of memory but only {:.2f} GiB are free{}", what,
       static_cast<double>(bytes) / kGiB, static_cast<double>(free) / kGiB,
       limit_ == 0 ? "; close other programs or use a smaller model or a shorter context"
                   : " under the limit that was set; raise it, or use a smaller model or a shorter context");
}

}  // namespace dvlm
