// The first frame of a GIF by giflib, as Pillow shows it: colours of the palette, without transparency.
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <memory>

#include "image/formats.h"

namespace dvlm::formats {

namespace {

// The file as giflib reads it. Behind the last pixel only block lengths follow, and files lack them: they are
// read as 0, which ends the picture.
struct GifSource {
  Bytes rest;
  bool in_blocks = false, at_length = true;  // of the pixels; the next byte is the length of a block
};

int on_gif_read(GifFileType* gif, GifByteType* out, int wanted) {
  auto& source = *static_cast<GifSource*>(gif->UserData);
  const size_t count = std::min(static_cast<size_t>(wanted), source.rest.size());
  if (source.in_blocks && source.at_length && count == 0) return *out = 0, 1;
  std::copy_n(octets(source.rest), count, out);
  source.rest = source.rest.subspan(count);
  if (source.in_blocks) source.at_length = source.at_length ? out[0] == 0 : true;
  return static_cast<int>(count);
}

struct GifCloser {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, GifCloser>;

[[noreturn]] void fail_gif(const std::string& name, int error) {
  const bool short_of = error == D_GIF_ERR_READ_FAILED || error == D_GIF_ERR_EOF_TOO_SOON ||
                        error == D_GIF_ERR_IMAGE_DEFECT || error == D_GIF_ERR_NO_IMAG_DSCR;
  const char* reason = GifErrorString(error);
  fail("{}: broken GIF file: {}", name,
       short_of ? "the file is cut off or damaged"
       : reason ? reason
                : "its data");
}

// Returns the number of the transparent colour, -1 without one, at the first picture's description. Bytes
// that begin no block are passed over.
int find_picture(GifFileType& gif, const std::string& name) {
  int transparent = -1;
  for (;;) {
    GifRecordType record = UNDEFINED_RECORD_TYPE;
    if (DGifGetRecordType(&gif, &record) != GIF_OK) {
      if (gif.Error == D_GIF_ERR_WRONG_RECORD) continue;
      fail_gif(name, gif.Error);
    }
    if (record == IMAGE_DESC_RECORD_TYPE) return transparent;
    if (record == TERMINATE_RECORD_TYPE) fail("{}: this GIF file has no picture", name);
    int code = 0;
    GifByteType* block = nullptr;  // its length, then its bytes
    if (DGifGetExtension(&gif, &code, &block) != GIF_OK) fail_gif(name, gif.Error);
    if (code == GRAPHICS_EXT_FUNC_CODE && block && block[0] >= 4 && block[1] & 1) transparent = block[4];
    while (block)
      if (DGifGetExtensionNext(&gif, &block) != GIF_OK) fail_gif(name, gif.Error);
  }
}

using Palette = std::array<std::array<uint8_t, 3>, 256>;

bool is_ramp(const ColorMapObject& map) {
  for (int i = 0; i < map.ColorCount; ++i) {
    const GifColorType& color = map.Colors[i];
    if (color.Red != i || color.Green != i || color.Blue != i) return false;
  }
  return true;
}

// The frame's palette, else the file's; numbers beyond it are black. Pillow takes a ramp of greys for no
// palette, so that the file's colours are those of a frame with a ramp. Without a palette the numbers are
// greys.
Palette palette_of(const GifFileType& gif) {
  Palette out = {};
  for (const ColorMapObject* map : {gif.Image.ColorMap, gif.SColorMap}) {
    if (!map || is_ramp(*map)) continue;
    for (size_t i = 0; i < std::min(out.size(), static_cast<size_t>(map->ColorCount)); ++i)
      out[i] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
    return out;
  }
  for (size_t i = 0; i < out.size(); ++i) out[i].fill(static_cast<uint8_t>(i));
  return out;
}

void read_gif_rows(GifFileType& gif, const Palette& palette, Image& image, const std::string& name) {
  struct Pass {
    int first, step;
  };
  constexpr Pass kWhole[] = {{0, 1}}, kInterlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  const GifImageDesc& frame = gif.Image;
  std::vector<GifPixelType> line(static_cast<size_t>(frame.Width));
  for (const Pass& pass :
       frame.Interlace ? std::span<const Pass>(kInterlaced) : std::span<const Pass>(kWhole)) {
    for (int y = pass.first; y < frame.Height; y += pass.step) {
      if (DGifGetLine(&gif, line.data(), frame.Width) != GIF_OK) fail_gif(name, gif.Error);
      const size_t at = static_cast<size_t>(frame.Top + y) * static_cast<size_t>(image.width);
      uint8_t* out = image.pixels.data() + 3 * (at + static_cast<size_t>(frame.Left));
      for (const GifPixelType number : line) out = std::copy_n(palette[number].data(), 3, out);
    }
  }
}

}  // namespace

Image decode_gif(Bytes file, const std::string& name, const DecodeLimits& limits) {
  GifSource source{file};
  int error = 0;
  const Gif gif(DGifOpen(&source, on_gif_read, &error));
  if (!gif) fail_gif(name, error);
  const int transparent = find_picture(*gif, name);
  if (DGifGetImageDesc(gif.get()) != GIF_OK) fail_gif(name, gif->Error);
  source.in_blocks = true;
  const GifImageDesc& frame = gif->Image;
  const int width = std::max(gif->SWidth, frame.Left + frame.Width);
  const int height = std::max(gif->SHeight, frame.Top + frame.Height);
  check_size(width, height, name, limits);
  check_size(frame.Width, frame.Height, name, limits);
  const Palette palette = palette_of(*gif);
  Image image = make_image(width, height);
  const auto& around = palette[static_cast<size_t>(std::max(transparent, 0))];
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = around[i % 3];
  read_gif_rows(*gif, palette, image, name);
  return image;
}

}  // namespace dvlm::formats
