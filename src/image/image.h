// Pictures in memory, and the reading of picture files.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace dvlm {

// 8-bit RGB, row-major, [height, width, 3].
struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;
};

struct DecodeLimits {
  int64_t max_pixels = int64_t{1} << 28;  // checked against the header before anything is allocated
  int max_side = 1 << 16;
};

// JPEG, PNG, WebP, GIF, BMP, PNM; of an animation the first frame. Colour handling is Pillow's and
// qwen-vl-utils': RGBA is pasted on white, any other mode is convert("RGB"); EXIF orientation is ignored
// (docs/reference.md, Colour). `name` is used in errors.
Image decode_image(std::span<const std::byte> file, const std::string& name, const DecodeLimits& limits = {});
// Whether a file that begins so, with 16 bytes or more, is of one of these formats.
bool is_picture(std::span<const std::byte> first_bytes);
Image read_image(const std::filesystem::path& path, const DecodeLimits& limits = {});
// See core/data_url.h.
Image decode_data_url(const std::string& url, const DecodeLimits& limits = {});

}  // namespace dvlm
