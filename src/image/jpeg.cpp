// JPEG by libjpeg-turbo with its defaults (accurate integer IDCT, fancy upsampling), as Pillow uses it.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs FILE and size_t before it.
#include <jpeglib.h>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

// A progressive file of a few KB may hold thousands of scans, each of which visits all of a huge picture;
// real encoders write about ten.
int most_scans(const jpeg_decompress_struct& info) {
  constexpr int64_t kLarge = int64_t{1} << 22;  // pixels
  return int64_t{info.image_width} * info.image_height <= kLarge ? 256 : 32;
}

// Everything libjpeg points at. Its errors longjmp into the innermost of the functions below that call
// setjmp; those have no locals with destructors, and this struct's destructor frees what libjpeg allocated.
struct JpegReader {
  jpeg_decompress_struct info = {};
  jpeg_error_mgr errors = {};
  jpeg_source_mgr source = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf jump = {};
  char message[JMSG_LENGTH_MAX] = "";

  JpegReader() {
    info.err = jpeg_std_error(&errors);
    info.client_data = this;
    errors.error_exit = [](j_common_ptr common) {
      JpegReader& self = of(common);
      common->err->format_message(common, self.message);
      std::longjmp(self.jump, 1);
    };
    errors.output_message = [](j_common_ptr) {};  // warnings stay off stderr; Pillow ignores them too
    progress.progress_monitor = [](j_common_ptr common) {
      JpegReader& self = of(common);
      if (self.info.input_scan_number > most_scans(self.info)) self.stop("it has too many scans");
    };
  }
  ~JpegReader() { jpeg_destroy_decompress(&info); }
  JpegReader(const JpegReader&) = delete;

  static JpegReader& of(j_common_ptr common) { return *static_cast<JpegReader*>(common->client_data); }

  [[noreturn]] void stop(const char* why) {
    std::snprintf(message, sizeof message, "%s", why);
    std::longjmp(jump, 1);
  }
};

void set_source(JpegReader& reader, Bytes file) {
  jpeg_source_mgr& source = reader.source;
  source.next_input_byte = octets(file);
  source.bytes_in_buffer = file.size();
  source.init_source = [](j_decompress_ptr) {};
  source.term_source = [](j_decompress_ptr) {};
  source.resync_to_restart = jpeg_resync_to_restart;
  source.fill_input_buffer = [](j_decompress_ptr info) -> boolean {
    JpegReader::of(reinterpret_cast<j_common_ptr>(info)).stop("the file is cut off");
  };
  source.skip_input_data = [](j_decompress_ptr info, long count) {
    if (count <= 0) return;
    const size_t skip = static_cast<size_t>(count);
    if (skip > info->src->bytes_in_buffer)
      JpegReader::of(reinterpret_cast<j_common_ptr>(info)).stop("the file is cut off");
    info->src->next_input_byte += skip;
    info->src->bytes_in_buffer -= skip;
  };
  reader.info.src = &source;
}

bool read_header(JpegReader& reader, Bytes file) {
  if (setjmp(reader.jump)) return false;
  jpeg_create_decompress(&reader.info);
  set_source(reader, file);
  reader.info.progress = &reader.progress;
  jpeg_read_header(&reader.info, TRUE);
  return true;
}

// Adobe's inverted CMYK, then Pillow's CMYK to RGB.
void cmyk_to_rgb(const uint8_t* cmyk, int width, uint8_t* rgb) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int k = cmyk[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<uint8_t>(std::max(0, k - divided_by_255((255 - cmyk[c]) * k)));
  }
}

// `cmyk_row` holds 4 * width bytes when the file has four components and is unused otherwise.
bool read_rows(JpegReader& reader, uint8_t* rgb, uint8_t* cmyk_row) {
  if (setjmp(reader.jump)) return false;
  jpeg_decompress_struct& info = reader.info;
  const bool cmyk = info.num_components == 4;
  info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    uint8_t* out = rgb + static_cast<size_t>(info.output_scanline) * info.output_width * 3;
    JSAMPROW row = cmyk ? cmyk_row : out;
    if (jpeg_read_scanlines(&info, &row, 1) == 1 && cmyk)
      cmyk_to_rgb(cmyk_row, static_cast<int>(info.output_width), out);
  }
  jpeg_finish_decompress(&info);  // what lies behind the last row tells of damage before it
  return true;
}

}  // namespace

Image decode_jpeg(Bytes file, const std::string& name, const DecodeLimits& limits) {
  JpegReader reader;
  if (!read_header(reader, file)) fail("{}: broken JPEG file: {}", name, printable(reader.message));
  const jpeg_decompress_struct& info = reader.info;
  check_size(info.image_width, info.image_height, name, limits);
  if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4)
    fail("{}: a JPEG with {} colour components is not read; save it as grey, RGB or CMYK", name,
         info.num_components);
  Image image = make_image(static_cast<int>(info.image_width), static_cast<int>(info.image_height));
  std::vector<uint8_t> cmyk_row(info.num_components == 4 ? size_t{info.image_width} * 4 : 0);
  if (!read_rows(reader, image.pixels.data(), cmyk_row.data()))
    fail("{}: broken JPEG file: {}", name, printable(reader.message));
  return image;
}

}  // namespace dvlm::formats
