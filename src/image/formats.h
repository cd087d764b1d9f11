// One reader per picture format; only decode.cpp calls them. Each gets a file whose first bytes already name
// the format, and returns 8-bit RGB or throws Error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "image/image.h"

namespace dvlm::formats {

using Bytes = std::span<const std::byte>;

Image decode_jpeg(Bytes file, const std::string& name, const DecodeLimits& limits);
Image decode_png(Bytes file, const std::string& name, const DecodeLimits& limits);
Image decode_webp(Bytes file, const std::string& name, const DecodeLimits& limits);
Image decode_pnm(Bytes file, const std::string& name, const DecodeLimits& limits);
Image decode_gif(Bytes file, const std::string& name, const DecodeLimits& limits);
Image decode_bmp(Bytes file, const std::string& name, const DecodeLimits& limits);

// Throws unless both sides are positive and within the limits: called with the header's numbers before
// anything of their size is allocated.
void check_size(int64_t width, int64_t height, const std::string& name, const DecodeLimits& limits);

// A black picture of a size that check_size has passed.
Image make_image(int width, int height);

// round(x / 255) of a product of two bytes as Pillow computes it.
inline uint8_t divided_by_255(int x) {
  x += 128;
  return static_cast<uint8_t>(((x >> 8) + x) >> 8);
}

// One RGBA pixel pasted on white as Pillow's Image.paste with a mask does it.
inline void paste_on_white(const uint8_t* rgba, uint8_t* rgb) {
  const int alpha = rgba[3];
  for (int c = 0; c < 3; ++c) rgb[c] = divided_by_255(255 * (255 - alpha) + rgba[c] * alpha);
}

// Whether `text` stands at `at`.
inline bool starts_with(Bytes bytes, std::string_view text, size_t at = 0) {
  return bytes.size() >= at + text.size() && std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

inline const uint8_t* octets(Bytes bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

}  // namespace dvlm::formats
