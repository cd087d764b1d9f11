// PNG by libpng, without any of its transformations: samples become RGB here, by Pillow's rules.
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

// As in jpeg.cpp: functions that call setjmp have no locals with destructors.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes rest;
  std::jmp_buf jump = {};
  char message[128] = "out of memory";
  bool cut_off = false;
  size_t rows = 0;  // unpacked so far, of all passes

  PngReader() = default;
  ~PngReader() {
    if (png) png_destroy_read_struct(&png, &info, nullptr);
  }
  PngReader(const PngReader&) = delete;
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  PngReader& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader.message, sizeof reader.message, "%s", message);
  std::longjmp(reader.jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, size_t count) {
  PngReader& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
  reader.cut_off = count > reader.rest.size();
  if (reader.cut_off) png_error(png, "the file is cut off");
  std::memcpy(out, reader.rest.data(), count);
  reader.rest = reader.rest.subspan(count);
}

void on_row(png_structp png, png_row_infop, png_bytep) {
  ++static_cast<PngReader*>(png_get_user_transform_ptr(png))->rows;
}

struct Header {
  png_uint_32 width = 0, height = 0;
  int depth = 0, color = 0, interlace = 0;
  std::array<std::array<uint8_t, 3>, 256> palette = {};  // entries that the file does not give are black
};

bool read_header(PngReader& reader, Bytes file, Header& header) {
  if (setjmp(reader.jump)) return false;
  reader.rest = file;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (!reader.png) return false;
  reader.info = png_create_info_struct(reader.png);
  if (!reader.info) return false;
  png_set_read_fn(reader.png, &reader, on_read);
  // The size itself is judged by check_size, whose message names the limit.
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  // Profiles, texts and other metadata are passed over: libpng would allocate the length that a chunk claims.
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(reader.png, reader.info);
  png_get_IHDR(reader.png, reader.info, &header.width, &header.height, &header.depth, &header.color,
               &header.interlace, nullptr, nullptr);
  png_colorp colors = nullptr;
  int count = 0;
  if (png_get_PLTE(reader.png, reader.info, &colors, &count)) {
    for (int i = 0; i < count && i < 256; ++i)
      header.palette[i] = {colors[i].red, colors[i].green, colors[i].blue};
  }
  return true;
}

uint8_t packed_sample(const uint8_t* row, int x, int depth) {
  const int bit = x * depth;
  return static_cast<uint8_t>((row[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1));
}

void grey_row(const uint8_t* row, int width, int depth, uint8_t* rgb) {
  for (int x = 0; x < width; ++x, rgb += 3) {
    uint8_t value;
    if (depth == 16) {
      // Pillow reads 16-bit grey as mode I;16, whose conversion clips instead of scaling.
      value = row[2 * x] == 0 ? row[2 * x + 1] : 255;
    } else if (depth == 8) {
      value = row[x];
    } else {
      value = static_cast<uint8_t>(packed_sample(row, x, depth) * (255 / ((1 << depth) - 1)));
    }
    rgb[0] = rgb[1] = rgb[2] = value;
  }
}

// 16-bit samples of colour or alpha pictures lose their low byte, as in Pillow.
void row_to_rgb(const Header& header, const uint8_t* row, uint8_t* rgb) {
  const int width = static_cast<int>(header.width), bytes = header.depth == 16 ? 2 : 1;
  switch (header.color) {
    case PNG_COLOR_TYPE_GRAY:
      return grey_row(row, width, header.depth, rgb);
    case PNG_COLOR_TYPE_GRAY_ALPHA:
      // Pillow opens 8 bits as LA, whose alpha convert("RGB") drops, but 16 bits as RGBA, which is pasted on
      // white.
      for (int x = 0; x < width; ++x, row += 2 * bytes, rgb += 3) {
        const uint8_t grey = row[0], rgba[4] = {grey, grey, grey, header.depth == 16 ? row[2] : uint8_t{255}};
        paste_on_white(rgba, rgb);
      }
      return;
    case PNG_COLOR_TYPE_PALETTE:
      for (int x = 0; x < width; ++x, rgb += 3) {
        const uint8_t index = header.depth == 8 ? row[x] : packed_sample(row, x, header.depth);
        std::memcpy(rgb, header.palette[index].data(), 3);
      }
      return;
    case PNG_COLOR_TYPE_RGB:
      for (int i = 0; i < 3 * width; ++i) rgb[i] = row[bytes * i];
      return;
    default:
      for (int x = 0; x < width; ++x, row += 4 * bytes, rgb += 3) {
        const uint8_t rgba[4] = {row[0], row[bytes], row[2 * bytes], row[3 * bytes]};
        paste_on_white(rgba, rgb);
      }
  }
}

// Rows that are stored, of all passes.
size_t stored_rows(const Header& header) {
  if (header.interlace == PNG_INTERLACE_NONE) return header.height;
  size_t rows = 0;
  for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; ++pass)
    if (PNG_PASS_COLS(header.width, pass) > 0) rows += PNG_PASS_ROWS(header.height, pass);
  return rows;
}

// What is left to do for a file of which nothing is missing but what stands behind the last pixel: Pillow
// reads it.
bool finish_rows(const PngReader& reader, const Header& header, size_t row_bytes, const uint8_t* raw,
                 uint8_t* rgb) {
  if (!reader.cut_off || reader.rows != stored_rows(header)) return false;
  const bool whole = header.interlace != PNG_INTERLACE_NONE;
  for (size_t y = whole ? 0 : header.height - 1; y < header.height; ++y)
    row_to_rgb(header, whole ? raw + y * row_bytes : raw, rgb + y * header.width * 3);
  return true;
}

// `raw` holds one row, or all rows of an interlaced picture. By bytes: what is read is unpacked at once, so
// that nothing in front of the end of a file that is cut off is lost.
bool read_rows(PngReader& reader, const Header& header, size_t row_bytes, bool by_bytes, uint8_t* raw,
               uint8_t* rgb) {
  if (setjmp(reader.jump)) return finish_rows(reader, header, row_bytes, raw, rgb);
  if (by_bytes) png_set_compression_buffer_size(reader.png, 1);
  png_set_read_user_transform_fn(reader.png, on_row);
  png_set_user_transform_info(reader.png, &reader, 0, 0);
  const int passes = png_set_interlace_handling(reader.png);
  png_start_read_image(reader.png);
  const size_t stride = passes > 1 ? row_bytes : 0;
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 y = 0; y < header.height; ++y) {
      png_read_row(reader.png, raw + y * stride, nullptr);
      if (pass + 1 == passes) row_to_rgb(header, raw + y * stride, rgb + size_t{y} * header.width * 3);
    }
  }
  return true;
}

}  // namespace

Image decode_png(Bytes file, const std::string& name, const DecodeLimits& limits) {
  PngReader reader;
  Header header;
  if (!read_header(reader, file, header)) fail("{}: broken PNG file: {}", name, printable(reader.message));
  check_size(header.width, header.height, name, limits);
  Image image = make_image(static_cast<int>(header.width), static_cast<int>(header.height));
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  std::vector<uint8_t> raw(row_bytes * (header.interlace == PNG_INTERLACE_NONE ? 1 : header.height));
  PngReader again;
  if (!read_rows(reader, header, row_bytes, false, raw.data(), image.pixels.data()) &&
      !(reader.cut_off && read_header(again, file, header) &&
        read_rows(again, header, row_bytes, true, raw.data(), image.pixels.data())))
    fail("{}: broken PNG file: {}", name, printable(reader.message));
  return image;
}

}  // namespace dvlm::formats
