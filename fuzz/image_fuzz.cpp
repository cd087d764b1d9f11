// Picture files from strangers: whatever the bytes are, decoding and resizing end in a picture or in an
// Error. The tests run the same entry point over mutated fixtures (tests/image/fuzz_test.cpp).
#include "pictures.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = dvlm::fuzz::text_of(data, size);
  if (text.starts_with("data:"))
    dvlm::fuzz::accepts([&] { dvlm::decode_data_url(std::string(text), dvlm::fuzz::kLimits); });
  else
    dvlm::fuzz::check_picture(text);
  return 0;
}
