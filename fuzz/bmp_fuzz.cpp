// BMP and PNM files from strangers: the two formats that dvlm reads without a library.
#include "pictures.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm::fuzz;
  const std::string_view text = text_of(data, size);
  check_picture(text.starts_with('P') ? std::string(text) : with_signature(text, "BM"));
  return 0;
}
