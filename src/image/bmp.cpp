// Windows bitmaps: 24 and 32 bits without compression. The fourth byte of 32 bits is not alpha (as in
// Pillow).

#include "image/formats.h"

namespace dvlm::formats {

namespace {

uint32_t u32(Bytes file, size_t at) {
  const uint8_t* p = octets(file) + at;
  return p[0] | (uint32_t{p[1]} << 8) | (uint32_t{p[2]} << 16) | (uint32_t{p[3]} << 24);
}

uint32_t u16(Bytes file, size_t at) {
  return octets(file)[at] | (uint32_t{octets(file)[at + 1]} << 8);
}

}  // namespace

Image decode_bmp(Bytes file, const std::string& name, const DecodeLimits& limits) {
  constexpr size_t kFileHeader = 14, kInfoHeader = 40;
  if (file.size() < kFileHeader + kInfoHeader) fail("{}: broken BMP file: the file is cut off", name);
  const size_t offset = u32(file, 10);
  const uint32_t header = u32(file, 14), bits = u16(file, 28), compression = u32(file, 30);
  if (header < kInfoHeader || header > 124)
    fail("{}: a BMP file with a header of {} bytes is not read; convert it to PNG", name, header);
  const int64_t width = static_cast<int32_t>(u32(file, 18)),
                signed_height = static_cast<int32_t>(u32(file, 22));
  const int64_t height = signed_height < 0 ? -signed_height : signed_height;
  check_size(width, height, name, limits);
  if ((bits != 24 && bits != 32) || compression != 0)
    fail(
        "{}: only uncompressed 24- and 32-bit BMP files are read (this one: {} bits, compression {}); "
        "convert it to PNG",
        name, bits, compression);
  const size_t bytes = bits / 8, stride = (static_cast<size_t>(width) * bytes + 3) / 4 * 4;
  if (offset > file.size() || (file.size() - offset) / stride < static_cast<size_t>(height))
    fail("{}: broken BMP file: the file is cut off", name);
  Image image = make_image(static_cast<int>(width), static_cast<int>(height));
  for (int64_t y = 0; y < height; ++y) {
    const int64_t stored = signed_height < 0 ? y : height - 1 - y;
    const uint8_t* in = octets(file) + offset + static_cast<size_t>(stored) * stride;
    uint8_t* out = image.pixels.data() + static_cast<size_t>(y * width) * 3;
    for (int64_t x = 0; x < width; ++x, in += bytes, out += 3) out[0] = in[2], out[1] = in[1], out[2] = in[0];
  }
  return image;
}

}  // namespace dvlm::formats
