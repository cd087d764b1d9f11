#include "torch/allocator.h"

#include <climits>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace dvlm {

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 256 << 20);
#endif
}

}  // namespace dvlm
