#include <cstring>
#include <string_view>

#include "core/data_url.h"
#include "core/files.h"
#include "image/formats.h"

namespace dvlm {

namespace {

using formats::Bytes;
using formats::starts_with;

bool is_pnm(Bytes file) {
  if (file.size() < 3) return false;
  const uint8_t* p = formats::octets(file);
  const bool space = p[2] == ' ' || p[2] == '\n' || p[2] == '\r' || p[2] == '\t' || p[2] == '#';
  return p[0] == 'P' && p[1] >= '1' && p[1] <= '6' && space;
}

// Formats that people try and that are not read, so that the message can name them.
std::string_view unsupported_format(Bytes file) {
  if (starts_with(file, std::string_view("II*\0", 4)) || starts_with(file, std::string_view("MM\0*", 4)))
    return "a TIFF";
  if (starts_with(file, "ftypavif", 4)) return "an AVIF";
  if (starts_with(file, "ftyphei", 4) || starts_with(file, "ftypmif1", 4)) return "a HEIF/HEIC";
  if (starts_with(file, "ftyp", 4)) return "an MP4 video";
  if (starts_with(file, "RIFF") && starts_with(file, "AVI ", 8)) return "an AVI video";
  if (starts_with(file, "%PDF")) return "a PDF";
  if (starts_with(file, "<svg") || starts_with(file, "<?xml")) return "an SVG or XML";
  if (starts_with(file, "<!DOCTYPE") || starts_with(file, "<html")) return "an HTML";
  return {};
}

using Decoder = Image (*)(Bytes, const std::string&, const DecodeLimits&);

// By its first bytes; null: of nothing that is read.
Decoder decoder_of(Bytes file) {
  if (starts_with(file, "\xFF\xD8\xFF")) return formats::decode_jpeg;
  if (starts_with(file, "\x89PNG\r\n\x1A\n")) return formats::decode_png;
  if (starts_with(file, "RIFF") && starts_with(file, "WEBP", 8)) return formats::decode_webp;
  if (starts_with(file, "GIF87a") || starts_with(file, "GIF89a")) return formats::decode_gif;
  if (is_pnm(file)) return formats::decode_pnm;
  return starts_with(file, "BM") ? formats::decode_bmp : nullptr;
}

}  // namespace

bool is_picture(std::span<const std::byte> first_bytes) {
  return decoder_of(first_bytes) != nullptr;
}

namespace formats {

void check_size(int64_t width, int64_t height, const std::string& name, const DecodeLimits& limits) {
  if (width <= 0 || height <= 0)
    fail("{}: the picture says it is {} x {} pixels; both sides must be at least 1", name, width, height);
  if (width > limits.max_side || height > limits.max_side)
    fail("{}: the picture is {} x {} pixels and a side may have at most {}; make it smaller", name, width,
         height, limits.max_side);
  if (width * height > limits.max_pixels)
    fail("{}: the picture is {} x {} = {} pixels and at most {} are allowed; make it smaller", name, width,
         height, width * height, limits.max_pixels);
}

Image make_image(int width, int height) {
  Image image{width, height, {}};
  image.pixels.resize(static_cast<size_t>(width) * height * 3);
  return image;
}

}  // namespace formats

Image decode_image(std::span<const std::byte> file, const std::string& raw_name, const DecodeLimits& limits) {
  const std::string name = printable(raw_name);
  if (file.empty()) fail("{}: the picture file is empty (0 bytes)", name);
  if (const Decoder decode = decoder_of(file)) return decode(file, name, limits);
  const std::string_view format = unsupported_format(file);
  if (!format.empty())
    fail("{}: this is {} file, which is not read here; convert it to PNG, JPEG or WebP", name, format);
  fail(
      "{}: not a picture that can be read: its first bytes are not those of a JPEG, PNG, WebP, GIF, PNM or "
      "BMP file",
      name);
}

Image read_image(const std::filesystem::path& path, const DecodeLimits& limits) {
  const std::string file = read_file(path);
  return decode_image(std::as_bytes(std::span(file)), path.string(), limits);
}

Image decode_data_url(const std::string& url, const DecodeLimits& limits) {
  const std::vector<std::byte> file = data_of_url(url);
  return decode_image(file, "the picture of the data URL", limits);
}

}  // namespace dvlm
