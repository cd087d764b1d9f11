// The orientation in a picture's EXIF data, in the container of each format, with lengths that fit.
#include "image/exif.h"

#include "fuzzing.h"

namespace {

using namespace dvlm;

int orientation_of(std::string_view file) {
  const int orientation = exif_orientation(std::as_bytes(std::span(file)));
  DVLM_ASSERT(orientation >= 1 && orientation <= 8);
  return orientation;
}

std::string number(size_t value, int bytes, bool big_endian) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * (big_endian ? bytes - 1 - i : i));
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMaxInJpeg = 60000;
  const std::string exif(fuzz::text_of(data, std::min(size, kMaxInJpeg)));
  orientation_of(exif);
  const int in_png =
      orientation_of("\x89PNG\r\n\x1A\n" + number(exif.size(), 4, true) + "eXIf" + exif + "sum.");
  const int in_webp = orientation_of("RIFF....WEBPEXIF" + number(exif.size(), 4, false) + exif);
  DVLM_ASSERT(in_png == in_webp);
  const std::string segment = std::string("Exif\0\0", 6) + exif;
  const int in_jpeg = orientation_of("\xFF\xD8\xFF\xE1" + number(segment.size() + 2, 2, true) + segment);
  if (!exif.starts_with("Exif")) DVLM_ASSERT(in_jpeg == in_png);
  Image image{2, 3, std::vector<uint8_t>(18)};
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i);
  const Image turned = upright(image, in_png);
  DVLM_ASSERT(turned.width * turned.height == 6 && turned.pixels.size() == 18);
  return 0;
}
