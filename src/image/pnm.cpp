// Portable grey and pixel maps: P2, P3 (text), P5, P6 (binary), scaled to 8 bits by Pillow's rules.
#include <algorithm>
#include <cmath>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

// The header and the text formats are numbers separated by white space, with comments from '#' to the end of
// a line.
class Scanner {
 public:
  Scanner(Bytes file, const std::string& name) : file_(file), name_(name) {}

  int64_t number(int64_t limit) {
    skip_space();
    int64_t value = 0;
    const size_t start = at_;
    for (; at_ < file_.size() && digit(octets(file_)[at_]); ++at_) {
      value = value * 10 + (octets(file_)[at_] - '0');
      if (value > limit) fail("{}: broken PNM file: a number near byte {} is above {}", name_, at_, limit);
    }
    if (at_ == start && at_ == file_.size()) fail("{}: broken PNM file: the file is cut off", name_);
    const bool ends = at_ == file_.size() || space(octets(file_)[at_]) || octets(file_)[at_] == '#';
    if (at_ == start || !ends) fail("{}: broken PNM file: a number is missing at byte {}", name_, start);
    return value;
  }

  // What follows the single white space after the header.
  Bytes rest() const { return file_.subspan(std::min(at_ + 1, file_.size())); }
  void skip(size_t count) { at_ += count; }

 private:
  static bool digit(uint8_t c) { return c >= '0' && c <= '9'; }
  static bool space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }

  void skip_space() {
    const uint8_t* p = octets(file_);
    while (at_ < file_.size() && (space(p[at_]) || p[at_] == '#')) {
      if (p[at_] == '#') {
        while (at_ < file_.size() && p[at_] != '\n' && p[at_] != '\r') ++at_;
      } else {
        ++at_;
      }
    }
  }

  Bytes file_;
  const std::string& name_;
  size_t at_ = 0;
};

// Pillow holds grey with more than 8 bits as 0..65535 and clips it to 8 bits; everything else is scaled to
// 0..255.
struct Scale {
  bool clipped;
  int64_t maximum;
  uint8_t operator()(int64_t value) const {
    const double out = clipped ? 65535 : 255;
    const double scaled =
        maximum == static_cast<int64_t>(out)
            ? static_cast<double>(value)
            : std::nearbyint(static_cast<double>(value) / static_cast<double>(maximum) * out);
    return static_cast<uint8_t>(std::clamp(scaled, 0.0, 255.0));
  }
};

}  // namespace

Image decode_pnm(Bytes file, const std::string& name, const DecodeLimits& limits) {
  const char kind = static_cast<char>(file[1]);
  if (kind == '1' || kind == '4') fail("{}: PNM bitmaps (P1, P4) are not read; convert it to PNG", name);
  Scanner scanner(file, name);
  scanner.skip(2);
  const int64_t width = scanner.number(1 << 30), height = scanner.number(1 << 30),
                maximum = scanner.number(65535);
  check_size(width, height, name, limits);
  if (maximum < 1) fail("{}: broken PNM file: its largest value is 0", name);
  const bool color = kind == '3' || kind == '6', text = kind == '2' || kind == '3';
  const size_t samples = static_cast<size_t>(width * height) * (color ? 3 : 1), bytes = maximum > 255 ? 2 : 1;
  const Bytes data = scanner.rest();
  // A sample in text takes at least a digit and a separator.
  if (text ? data.size() + 1 < samples * 2 : data.size() < samples * bytes)
    fail("{}: broken PNM file: the file is cut off", name);
  Image image = make_image(static_cast<int>(width), static_cast<int>(height));
  const Scale scale{!color && maximum > 255, maximum};
  const uint8_t* p = octets(data);
  for (size_t i = 0; i < samples; ++i) {
    const int64_t value = text ? scanner.number(maximum) : bytes == 2 ? p[2 * i] * 256 + p[2 * i + 1] : p[i];
    const uint8_t v = scale(std::min(value, maximum));
    if (color) {
      image.pixels[i] = v;
    } else {
      image.pixels[3 * i] = image.pixels[3 * i + 1] = image.pixels[3 * i + 2] = v;
    }
  }
  return image;
}

}  // namespace dvlm::formats
