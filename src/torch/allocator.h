// Memory of a training process.
#pragma once

namespace dvlm {

// Makes the C library keep freed blocks instead of handing each large tensor back to the system and faulting
// it in again page by page: on the CPU 8 to 10 % of a training step of a small model. Once per process, for
// training only, since the peak is never given back. Does nothing where the C library is not glibc.
void keep_freed_memory();

}  // namespace dvlm
