#include "image/frame.h"

#include <algorithm>

#include "image/formats.h"

namespace dvlm {

namespace {

using formats::paste_on_white;

int bytes_per_pixel(PixelFormat format) {
  switch (format) {
    case PixelFormat::rgb:
    case PixelFormat::bgr:
      return 3;
    case PixelFormat::rgba:
    case PixelFormat::bgra:
      return 4;
    case PixelFormat::gray:
    case PixelFormat::nv12:
      return 1;
  }
  return 1;
}

// BT.601's narrow range in 16 bits of fraction: 255/219 of luma, and of chroma 255/112 times the distance of
// blue and red from it.
void rgb_of_yuv(int y, int u, int v, uint8_t* rgb) {
  constexpr int kHalf = 1 << 15;
  const int luma = 76309 * (y - 16) + kHalf;
  u -= 128, v -= 128;
  const int red = luma + 104597 * v, green = luma - 25675 * u - 53279 * v, blue = luma + 132201 * u;
  rgb[0] = static_cast<uint8_t>(std::clamp(red >> 16, 0, 255));
  rgb[1] = static_cast<uint8_t>(std::clamp(green >> 16, 0, 255));
  rgb[2] = static_cast<uint8_t>(std::clamp(blue >> 16, 0, 255));
}

void convert_row(const uint8_t* in, PixelFormat format, int width, uint8_t* out) {
  switch (format) {
    case PixelFormat::rgb:
      std::copy_n(in, 3 * size_t(width), out);
      return;
    case PixelFormat::bgr:
      for (int x = 0; x < width; ++x, in += 3, out += 3) out[0] = in[2], out[1] = in[1], out[2] = in[0];
      return;
    case PixelFormat::rgba:
      for (int x = 0; x < width; ++x, in += 4, out += 3) paste_on_white(in, out);
      return;
    case PixelFormat::bgra:
      for (int x = 0; x < width; ++x, in += 4, out += 3) {
        const uint8_t rgba[] = {in[2], in[1], in[0], in[3]};
        paste_on_white(rgba, out);
      }
      return;
    case PixelFormat::gray:
      for (int x = 0; x < width; ++x, out += 3) out[0] = out[1] = out[2] = in[x];
      return;
    case PixelFormat::nv12:
      return;  // a row of it is not all that its pixels need
  }
}

}  // namespace

Image image_of(const PixelFrame& frame, const std::string& name, const DecodeLimits& limits) {
  if (!frame.data) fail("{}: there are no pixels: its data is null", name);
  formats::check_size(frame.width, frame.height, name, limits);
  const int64_t row = int64_t{frame.width} * bytes_per_pixel(frame.format);
  const int64_t stride = frame.stride == 0 ? row : frame.stride;
  constexpr int64_t kMaxStride = int64_t{1} << 31;
  if (stride > kMaxStride)
    fail("{}: its stride is {} bytes, and at most {} are allowed", name, stride, kMaxStride);
  if (stride < row)
    fail("{}: its stride is {} bytes, but a row of {} pixels has {}", name, frame.stride, frame.width, row);
  const bool nv12 = frame.format == PixelFormat::nv12;
  if (nv12 && (frame.width % 2 != 0 || frame.height % 2 != 0))
    fail("{}: NV12 has even sides, not {} x {}", name, frame.width, frame.height);
  Image image = formats::make_image(frame.width, frame.height);
  const uint8_t* chroma = frame.chroma || !nv12 ? frame.chroma : frame.data + stride * frame.height;
  for (int y = 0; y < frame.height; ++y) {
    const uint8_t* in = frame.data + stride * y;
    uint8_t* out = image.pixels.data() + size_t(y) * frame.width * 3;
    if (!nv12) {
      convert_row(in, frame.format, frame.width, out);
      continue;
    }
    const uint8_t* uv = chroma + stride * (y / 2);
    for (int x = 0; x < frame.width; ++x) rgb_of_yuv(in[x], uv[x & ~1], uv[x | 1], out + 3 * size_t(x));
  }
  return image;
}

}  // namespace dvlm
