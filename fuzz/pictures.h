// What holds for every picture that is decoded, whichever format it has.
#pragma once
#include "fuzzing.h"
#include "image/exif.h"
#include "image/preprocess.h"

namespace dvlm::fuzz {

// Small limits: a fuzzer looks for wrong reads, not for big pictures.
inline constexpr DecodeLimits kLimits{1 << 18, 2048};

inline void check_picture(std::string_view file) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(file));
  const int orientation = exif_orientation(bytes);
  DVLM_ASSERT(orientation >= 1 && orientation <= 8);
  Image image;
  if (!accepts([&] { image = decode_image(bytes, "input", kLimits); })) return;
  const auto pixels = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  DVLM_ASSERT(image.width > 0 && image.height > 0 && image.width <= kLimits.max_side);
  DVLM_ASSERT(image.height <= kLimits.max_side && pixels <= static_cast<size_t>(kLimits.max_pixels));
  DVLM_ASSERT(image.pixels.size() == pixels * 3);
  // Bytes that decoders leave as they were would differ.
  DVLM_ASSERT(decode_image(bytes, "input", kLimits).pixels == image.pixels);
  const bool turned = orientation >= 5;
  const Image turned_image = upright(image, orientation);
  DVLM_ASSERT(turned_image.width == (turned ? image.height : image.width));
  PreprocessOptions options;
  options.max_pixels = 20 * 784;
  accepts([&] {
    const Patches patches = preprocess_image(turned_image, options);
    DVLM_ASSERT(patches.values.size() == static_cast<size_t>(patches.grid.patches()) * 1176);
    // A side of one merged patch cannot become shorter, however long the other is.
    const Size size = patches.resized;
    DVLM_ASSERT(int64_t{size.height} * size.width <= options.max_pixels ||
                std::min(size.height, size.width) == 28);
  });
}

// For fuzzers of one format: the input with the first bytes of that format.
inline std::string with_signature(std::string_view input, std::string_view signature) {
  std::string file(input);
  file.replace(0, std::min(file.size(), signature.size()), signature);
  return file;
}

}  // namespace dvlm::fuzz
