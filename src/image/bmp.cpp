// Windows bitmaps, as Pillow reads them: 1, 4 and 8 bits with a palette (also in runs), 16, 24 and 32 bits
// (also with the channels' masks). The fourth byte of 32 bits is alpha only where a mask says so.

#include <algorithm>
#include <array>
#include <optional>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

enum BmpCompression : uint32_t { kRaw = 0, kRuns8 = 1, kRuns4 = 2, kMasks = 3 };

struct BmpHeader {
  int64_t width = 0, height = 0;
  bool top_down = false;
  uint32_t bits = 0, compression = kRaw;
  std::array<uint32_t, 4> masks = {};                    // red, green, blue, alpha
  std::array<std::array<uint8_t, 3>, 256> palette = {};  // red, green, blue
  size_t pixels = 0;                                     // where they begin
};

uint32_t u16(Bytes file, size_t at) {
  return octets(file)[at] | (uint32_t{octets(file)[at + 1]} << 8);
}

uint32_t u32(Bytes file, size_t at) {
  return u16(file, at) | (u16(file, at + 2) << 16);
}

[[noreturn]] void fail_cut_off(const std::string& name) {
  fail("{}: broken BMP file: the file is cut off", name);
}

// The masks stand in a header that has room for them, else behind it. Returns where the palette begins.
size_t read_masks(Bytes file, size_t header, BmpHeader& out, const std::string& name) {
  const size_t at = 14 + 40, count = header >= 56 ? 4 : 3, end = header >= 52 ? 14 + header : at + 12;
  if (file.size() < end) fail_cut_off(name);
  for (size_t i = 0; i < count; ++i) out.masks[i] = u32(file, at + 4 * i);
  return end;
}

// Numbers beyond the palette are black, and so are colours that the file does not reach.
void read_palette(Bytes file, size_t at, size_t colors, size_t entry, BmpHeader& out,
                  const std::string& name) {
  if (colors > 65536) fail("{}: broken BMP file: it has {} colours", name, colors);
  const size_t there = at < file.size() ? (file.size() - at) / entry : 0;
  bool ramp = there >= colors;
  for (size_t i = 0; i < std::min({colors, there, size_t{256}}); ++i) {
    const uint8_t* bgr = octets(file) + at + i * entry;
    const auto grey = static_cast<uint8_t>(colors == 2 ? 255 * i : i);
    out.palette[i] = {bgr[2], bgr[1], bgr[0]};
    ramp = ramp && out.palette[i] == std::array<uint8_t, 3>{grey, grey, grey};
  }
  // Pillow takes a ramp of greys for no palette at all, and one of two for black and white.
  for (size_t i = colors; ramp && i < 256; ++i)
    out.palette[i].fill(colors <= 2 ? uint8_t{255} : static_cast<uint8_t>(i));
}

BmpHeader read_bmp_header(Bytes file, const std::string& name) {
  constexpr size_t kFileHeader = 14;
  if (file.size() < kFileHeader + 12) fail_cut_off(name);
  BmpHeader out;
  const size_t size = u32(file, 14);
  constexpr size_t kSizes[] = {12, 40, 52, 56, 64, 108, 124};
  if (std::find(std::begin(kSizes), std::end(kSizes), size) == std::end(kSizes))
    fail("{}: a BMP file with a header of {} bytes is not read; convert it to PNG", name, size);
  if (file.size() < kFileHeader + size) fail_cut_off(name);
  const bool old = size == 12;
  const auto signed_height = old ? static_cast<int64_t>(u16(file, 20)) : static_cast<int32_t>(u32(file, 22));
  out.width = old ? static_cast<int64_t>(u16(file, 18)) : static_cast<int32_t>(u32(file, 18));
  out.height = std::abs(signed_height);
  out.top_down = signed_height < 0;
  out.bits = u16(file, old ? 24 : 28);
  out.compression = old ? kRaw : u32(file, 30);
  size_t behind = kFileHeader + size;
  if (out.compression == kMasks) behind = read_masks(file, size, out, name);
  out.pixels = u32(file, 10);
  if (out.bits <= 8) {
    const size_t entry = old ? 3 : 4, given = old ? 0 : u32(file, 46),
                 colors = given ? given : 1u << out.bits;
    read_palette(file, behind, colors, entry, out, name);
    behind += entry * colors;
    if (out.pixels == kFileHeader + size) out.pixels = behind;
  }
  if (out.pixels == 0) out.pixels = behind;
  return out;
}

// Which byte of a pixel holds each channel; no alpha: 4.
using Places = std::array<uint8_t, 4>;

std::optional<Places> places_of(const BmpHeader& header) {
  struct Known {
    std::array<uint32_t, 4> masks;
    Places places;
  };
  static constexpr Known kKnown[] = {{{0xFF0000, 0xFF00, 0xFF, 0}, {2, 1, 0, 4}},
                                     {{0xFF000000, 0xFF0000, 0xFF00, 0}, {3, 2, 1, 4}},
                                     {{0xFF000000, 0xFF00, 0xFF, 0}, {3, 1, 0, 4}},
                                     {{0xFF000000, 0xFF0000, 0xFF00, 0xFF}, {3, 2, 1, 0}},
                                     {{0xFF, 0xFF00, 0xFF0000, 0xFF000000}, {0, 1, 2, 3}},
                                     {{0xFF0000, 0xFF00, 0xFF, 0xFF000000}, {2, 1, 0, 3}},
                                     {{0xFF000000, 0xFF00, 0xFF, 0xFF0000}, {3, 1, 0, 2}},
                                     {{0, 0, 0, 0}, {2, 1, 0, 3}}};
  // A mask for alpha in 24 bits names a byte that the pixel does not have.
  if (header.compression != kMasks || header.bits != 32) return Places{2, 1, 0, 4};
  for (const Known& known : kKnown)
    if (header.masks == known.masks) return known.places;
  return {};
}

constexpr std::array<uint32_t, 3> k565 = {0xF800, 0x7E0, 0x1F}, k555 = {0x7C00, 0x3E0, 0x1F};

bool is_read(const BmpHeader& header) {
  const std::array<uint32_t, 3> rgb = {header.masks[0], header.masks[1], header.masks[2]};
  const bool masks = header.compression == kMasks;
  switch (header.bits) {
    case 1:
    case 4:
    case 8:
      return header.compression == kRaw || header.compression == kRuns8 || header.compression == kRuns4;
    case 16:
      return header.compression == kRaw || (masks && (rgb == k565 || rgb == k555));
    case 24:
      return header.compression == kRaw || (masks && rgb == std::array<uint32_t, 3>{0xFF0000, 0xFF00, 0xFF});
    case 32:
      return header.compression == kRaw || (masks && places_of(header));
    default:
      return false;
  }
}

void row_of_16(const uint8_t* in, int64_t width, bool six_bits_green, uint8_t* out) {
  const int green_bits = six_bits_green ? 6 : 5, green_most = (1 << green_bits) - 1;
  for (int64_t x = 0; x < width; ++x, in += 2, out += 3) {
    const int pixel = in[0] | in[1] << 8;
    out[0] = static_cast<uint8_t>((pixel >> (5 + green_bits) & 31) * 255 / 31);
    out[1] = static_cast<uint8_t>((pixel >> 5 & green_most) * 255 / green_most);
    out[2] = static_cast<uint8_t>((pixel & 31) * 255 / 31);
  }
}

void row_to_rgb(const BmpHeader& header, const Places& places, const uint8_t* in, uint8_t* out) {
  if (header.bits == 16) {
    const bool six = header.compression == kMasks && header.masks[1] == k565[1];
    return row_of_16(in, header.width, six, out);
  }
  const uint32_t bits = header.bits;
  for (int64_t x = 0; x < header.width; ++x, out += 3) {
    if (bits <= 8) {
      const auto bit = static_cast<size_t>(x) * bits;
      const int index = in[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1);
      std::copy_n(header.palette[static_cast<size_t>(index)].data(), 3, out);
      continue;
    }
    const uint8_t* pixel = in + x * (bits / 8);
    const uint8_t alpha = places[3] < 4 ? pixel[places[3]] : uint8_t{255};
    const uint8_t rgba[4] = {pixel[places[0]], pixel[places[1]], pixel[places[2]], alpha};
    paste_on_white(rgba, out);
  }
}

// Runs of equal numbers, literal ones, ends of rows and jumps. Literal ones end at an even place of the file,
// as Pillow counts: the runs begin at `first`. Returns at least `wanted` numbers of the palette, or fewer
// when the data end before.
std::vector<uint8_t> unpack_runs(Bytes in, size_t first, bool four_bits, size_t width, size_t wanted) {
  std::vector<uint8_t> out;
  size_t at = 0, x = 0;
  const auto number = [&](size_t byte, size_t i) {
    const uint8_t value = octets(in)[byte];
    return !four_bits ? value : static_cast<uint8_t>(i % 2 == 0 ? value >> 4 : value & 15);
  };
  const auto skip = [&](size_t count) { out.resize(std::min(wanted, out.size() + count)); };
  while (out.size() < wanted && at + 2 <= in.size()) {
    const size_t count = octets(in)[at], value = octets(in)[at + 1];
    at += 2;
    if (count > 0) {  // a run ends with its row
      const size_t run = x < width ? std::min(count, width - x) : 0;
      for (size_t i = 0; i < run; ++i) out.push_back(number(at - 1, i));
      x += run;
    } else if (value == 0) {
      skip((width - out.size() % width) % width);
      x = 0;
    } else if (value == 1) {
      break;
    } else if (value == 2) {
      if (at + 2 > in.size()) break;
      skip(octets(in)[at] + octets(in)[at + 1] * width);
      at += 2;
      x = out.size() % width;
    } else {
      const size_t literal = std::min(wanted - out.size(), value),
                   bytes = four_bits ? (literal + 1) / 2 : literal;
      if (in.size() - at < bytes) break;
      for (size_t i = 0; i < literal; ++i) out.push_back(number(at + (four_bits ? i / 2 : i), i));
      x += value;
      at += bytes + (first + at + bytes) % 2;
    }
  }
  return out;
}

}  // namespace

Image decode_bmp(Bytes file, const std::string& name, const DecodeLimits& limits) {
  BmpHeader header = read_bmp_header(file, name);
  check_size(header.width, header.height, name, limits);
  if (!is_read(header))
    fail("{}: a BMP file of {} bits with compression {} and these masks is not read; convert it to PNG", name,
         header.bits, header.compression);
  if (header.pixels > file.size()) fail_cut_off(name);
  const auto width = static_cast<size_t>(header.width), height = static_cast<size_t>(header.height);
  Bytes rows = file.subspan(header.pixels);
  std::vector<uint8_t> numbers;
  if (header.compression == kRuns8 || header.compression == kRuns4) {
    // A byte of runs makes 128 pixels at the most, a jump a row of them.
    numbers = unpack_runs(rows, header.pixels, header.compression == kRuns4, width, width * height);
    rows = std::as_bytes(std::span(numbers));
    header.bits = 8;
  }
  const size_t row_bytes = (width * header.bits + 7) / 8,
               stride = numbers.empty() ? (row_bytes + 3) / 4 * 4 : width;
  if (rows.size() < row_bytes || (rows.size() - row_bytes) / stride < height - 1) fail_cut_off(name);
  Image image = make_image(static_cast<int>(width), static_cast<int>(height));
  const Places places = places_of(header).value_or(Places{});
  for (size_t y = 0; y < height; ++y)
    row_to_rgb(header, places, octets(rows) + (header.top_down ? y : height - 1 - y) * stride,
               image.pixels.data() + y * width * 3);
  return image;
}

}  // namespace dvlm::formats
