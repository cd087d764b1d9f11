#include "image/exif.h"

#include <algorithm>
#include <string_view>

#include "image/formats.h"

namespace dvlm {

namespace {

using formats::Bytes;
using formats::starts_with;

// `count` bytes of a number at `at`; 0 beyond the end.
uint32_t number_at(Bytes bytes, size_t at, size_t count, bool big_endian) {
  if (at > bytes.size() || bytes.size() - at < count) return 0;
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i)
    value |= uint32_t{formats::octets(bytes)[at + i]} << 8 * (big_endian ? count - 1 - i : i);
  return value;
}

Bytes from(Bytes bytes, size_t at, size_t count) {
  if (at > bytes.size()) return {};
  return bytes.subspan(at, std::min(count, bytes.size() - at));
}

constexpr std::string_view kExifPrefix("Exif\0\0", 6);

// Segments up to the picture's data. Any count of FF may stand in front of a marker.
Bytes exif_of_jpeg(Bytes file) {
  constexpr uint32_t kApp1 = 0xE1, kStartOfScan = 0xDA;
  for (size_t at = 2; number_at(file, at, 1, true) == 0xFF;) {
    while (number_at(file, at + 1, 1, true) == 0xFF) ++at;
    const uint32_t marker = number_at(file, at + 1, 1, true), length = number_at(file, at + 2, 2, true);
    const Bytes segment = from(file, at + 4, length < 2 ? 0 : length - 2);
    if (marker == kStartOfScan || length < 2) return {};
    if (marker == kApp1 && starts_with(segment, kExifPrefix)) return segment;
    at += 2 + length;
  }
  return {};
}

Bytes exif_of_png(Bytes file) {
  for (size_t at = 8; at + 12 <= file.size();) {
    const size_t length = number_at(file, at, 4, true);
    if (starts_with(file, "eXIf", at + 4)) return from(file, at + 8, length);
    at += 12 + length;
  }
  return {};
}

Bytes exif_of_webp(Bytes file) {
  for (size_t at = 12; at + 8 <= file.size();) {
    const size_t length = number_at(file, at + 4, 4, false);
    if (starts_with(file, "EXIF", at)) return from(file, at + 8, length);
    at += 8 + length + length % 2;
  }
  return {};
}

// Bytes of a value by the number of its type: of shorts, longs and their signed kin with the signed byte. No
// other type is a number here.
constexpr size_t kBytesOfType[] = {0, 0, 0, 2, 4, 0, 1, 0, 2, 4};

}  // namespace

int exif_orientation(Bytes file) {
  Bytes exif = starts_with(file, "\xFF\xD8")  ? exif_of_jpeg(file)
               : starts_with(file, "\x89PNG") ? exif_of_png(file)
               : starts_with(file, "RIFF")    ? exif_of_webp(file)
                                              : Bytes{};
  if (starts_with(exif, kExifPrefix)) exif = exif.subspan(kExifPrefix.size());
  const bool big_endian = starts_with(exif, "MM");
  // Pillow takes these for the mark of a TIFF, too: its two bytes swapped, and BigTIFF's behind MM.
  constexpr uint32_t kTiff = 42, kSwapped = kTiff << 8, kBigTiff = 43;
  const uint32_t mark = number_at(exif, 2, 2, big_endian);
  if (!big_endian && !starts_with(exif, "II")) return 1;
  if (mark != kTiff && mark != kSwapped && !(big_endian && mark == kBigTiff)) return 1;
  constexpr uint32_t kOrientation = 0x0112;
  const size_t directory = number_at(exif, 4, 4, big_endian);
  const size_t entries = number_at(exif, directory, 2, big_endian);
  for (size_t at = directory + 2; at < directory + 2 + 12 * entries; at += 12) {
    if (number_at(exif, at, 2, big_endian) != kOrientation) continue;
    const uint32_t type = number_at(exif, at + 2, 2, big_endian);
    const size_t bytes = type < std::size(kBytesOfType) ? kBytesOfType[type] : 0;
    const uint32_t count = number_at(exif, at + 4, 4, big_endian);
    if (count < 1 || count > 4 || count * bytes > 4)
      return 1;  // more stand elsewhere, and are no orientation
    const uint32_t value = number_at(exif, at + 8, bytes, big_endian);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool turned = orientation >= 5;  // rows become columns
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int width = turned ? image.height : image.width, height = turned ? image.width : image.height;
  Image out = formats::make_image(width, height);
  uint8_t* to = out.pixels.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x, to += 3) {
      int column = turned ? y : x, row = turned ? x : y;
      if (from_right) column = image.width - 1 - column;
      if (from_below) row = image.height - 1 - row;
      const size_t pixel =
          static_cast<size_t>(row) * static_cast<size_t>(image.width) + static_cast<size_t>(column);
      std::copy_n(image.pixels.data() + 3 * pixel, 3, to);
    }
  }
  return out;
}

}  // namespace dvlm
