// JPEG files from strangers.
#include "pictures.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm::fuzz;
  check_picture(with_signature(text_of(data, size), "\xFF\xD8\xFF"));
  return 0;
}
