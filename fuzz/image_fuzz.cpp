// Picture files from strangers: whatever the bytes are, decoding and resizing end in a picture or in an
// Error. As a fuzzer: clang++ -fsanitize=fuzzer,address with the image room; the corpus is
// tests/fixtures/image. The tests run the same entry point over mutated fixtures (tests/image/fuzz_test.cpp).
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"
#include "image/preprocess.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small limits: a fuzzer looks for wrong reads, not for big pictures.
  const dvlm::DecodeLimits limits{1 << 20, 4096};
  dvlm::PreprocessOptions options;
  options.max_pixels = 50 * 784;
  try {
    const dvlm::Image image = size > 5 && std::string(data, data + 5) == "data:"
                                  ? dvlm::decode_data_url(std::string(data, data + size), limits)
                                  : dvlm::decode_image(std::as_bytes(std::span(data, size)), "input", limits);
    if (image.pixels.size() != static_cast<size_t>(image.width) * image.height * 3) __builtin_trap();
    const dvlm::Patches patches = dvlm::preprocess_image(image, options);
    if (patches.values.size() != static_cast<size_t>(patches.grid.patches()) * 1176) __builtin_trap();
  } catch (const dvlm::Error&) {
    return 0;
  }
  return 0;
}
