#include "data/media.h"

#include <algorithm>
#include <array>
#include <span>

#include "core/ascii.h"

namespace dvlm {

namespace {

using namespace std::string_view_literals;

constexpr std::array kPictureEndings = {".jpg"sv, ".jpeg"sv, ".jfif"sv, ".png"sv, ".webp"sv, ".gif"sv,
                                        ".bmp"sv, ".ppm"sv,  ".pgm"sv,  ".pbm"sv, ".pnm"sv};
constexpr std::array kUnreadEndings = {".tif"sv, ".tiff"sv, ".heic"sv, ".heif"sv, ".avif"sv, ".jxl"sv,
                                       ".jp2"sv, ".svg"sv,  ".mp4"sv,  ".m4v"sv,  ".mov"sv,  ".avi"sv,
                                       ".mkv"sv, ".webm"sv, ".mpg"sv,  ".mpeg"sv, ".wav"sv,  ".mp3"sv,
                                       ".m4a"sv, ".flac"sv, ".ogg"sv,  ".opus"sv};

// Texts may begin with anything, also like a picture.
constexpr std::array kTextEndings = {".txt"sv, ".json"sv, ".cls"sv, ".csv"sv, ".md"sv, ".xml"sv, ".html"sv};

bool ends_like(std::string_view text, std::span<const std::string_view> endings) {
  constexpr size_t kLongest = 5;
  const std::string end = lower(text.substr(text.size() - std::min(text.size(), kLongest)));
  return std::ranges::any_of(endings, [&](std::string_view ending) { return end.ends_with(ending); });
}

bool has(std::string_view file, std::string_view text, size_t at = 0) {
  return file.size() >= at && file.substr(at).starts_with(text);
}

bool is_riff(std::string_view file, std::string_view form) {
  return has(file, "RIFF") && has(file, form, 8);
}

// Stricter than the decoder, as is_pnm: texts of other names may begin with BM or P3, too.
bool is_bmp(std::string_view file) {
  return has(file, "BM") && has(file, "\0\0\0\0"sv, 6) && file.size() >= 18;
}

bool is_pnm(std::string_view file) {
  const auto is_one_of = [&](size_t at, std::string_view all) { return all.find(file[at]) != all.npos; };
  return has(file, "P") && file.size() > 3 && is_one_of(1, "123456") && is_one_of(2, " \t\r\n") &&
         is_one_of(3, "#0123456789");
}

// The formats of decode_image. Its room stands below this one, so that is_picture cannot be asked;
// tests/quantize compares the two.
bool begins_like_picture(std::string_view file) {
  return has(file, "\xFF\xD8\xFF") || has(file, "\x89PNG\r\n\x1A\n") || is_riff(file, "WEBP") ||
         has(file, "GIF87a") || has(file, "GIF89a") || is_pnm(file) || is_bmp(file);
}

bool begins_like_unread(std::string_view file) {
  const bool tiff = has(file, "II*\0"sv) || has(file, "MM\0*"sv);
  const bool jpeg_2000_or_xl = has(file, "\0\0\0\x0CjP  "sv) || has(file, "\0\0\0\x0CJXL "sv);
  const bool matroska = has(file, "\x1A\x45\xDF\xA3");
  // "ftyp": MP4 and its kin, AVIF and HEIC among them.
  return tiff || jpeg_2000_or_xl || matroska || has(file, "ftyp", 4) || is_riff(file, "AVI ") ||
         is_riff(file, "WAVE") || has(file, "OggS") || has(file, "fLaC") || has(file, "%PDF-");
}

}  // namespace

Media media_of(std::string_view name, std::string_view beginning) {
  if (ends_like(name, kTextEndings)) return Media::none;
  if (ends_like(name, kPictureEndings) || begins_like_picture(beginning)) return Media::picture;
  if (ends_like(name, kUnreadEndings) || begins_like_unread(beginning)) return Media::unread;
  return Media::none;
}

bool ends_like_media(std::string_view text) {
  return ends_like(text, kPictureEndings) || ends_like(text, kUnreadEndings);
}

}  // namespace dvlm
