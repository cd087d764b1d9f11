#include "synth/png_file.h"

#include <png.h>

#include <csetjmp>
#include <cstddef>
#include <string>

#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace {

void append(png_structp png, png_bytep data, png_size_t size) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(data), size);
}

// No object with a destructor may live between setjmp and a libpng error: the buffer belongs to the caller.
bool encode(const Image& picture, Compression compression, std::string& bytes) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  if (!info || setjmp(png_jmpbuf(png))) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  png_set_write_fn(png, &bytes, append, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(picture.width), static_cast<png_uint_32>(picture.height),
               8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(png, compression == Compression::fast ? 1 : 9);
  png_set_filter(png, 0, compression == Compression::fast ? PNG_FILTER_SUB : PNG_ALL_FILTERS);
  png_write_info(png, info);
  for (int y = 0; y < picture.height; ++y)
    png_write_row(png, picture.pixels.data() + static_cast<ptrdiff_t>(y) * picture.width * 3);
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return true;
}

}  // namespace

void write_png(const std::filesystem::path& path, const Image& picture, Compression compression) {
  std::string bytes;
  if (!encode(picture, compression, bytes)) fail("cannot encode the picture {} as PNG", path.string());
  write_file(path, bytes);
}

}  // namespace dvlm
