#include "synth/canvas.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

void SurfaceDeleter::operator()(cairo_surface_t* surface) const {
  cairo_surface_destroy(surface);
}

Surface new_surface(int width, int height) {
  Surface surface(cairo_image_surface_create(CAIRO_FORMAT_ARGB32, width, height));
  if (cairo_surface_status(surface.get()) != CAIRO_STATUS_SUCCESS)
    fail("cannot allocate a drawing of {}x{} pixels", width, height);
  return surface;
}

Context draw_on(const Surface& surface) {
  return Context(cairo_create(surface.get()));
}

const uint32_t* row_pixels(cairo_surface_t* surface, int y) {
  return reinterpret_cast<const uint32_t*>(cairo_image_surface_get_data(surface) +
                                           static_cast<ptrdiff_t>(y) *
                                               cairo_image_surface_get_stride(surface));
}

Box ink_box(const Surface& surface, uint32_t alpha) {
  cairo_surface_flush(surface.get());
  const int width = cairo_image_surface_get_width(surface.get());
  const int height = cairo_image_surface_get_height(surface.get());
  Box box = {width, height, 0, 0};
  for (int y = 0; y < height; ++y) {
    const uint32_t* pixels = row_pixels(surface.get(), y);
    for (int x = 0; x < width; ++x) {
      if (pixels[x] >> 24 < alpha) continue;
      box = {std::min(box.x1, x), std::min(box.y1, y), std::max(box.x2, x + 1), std::max(box.y2, y + 1)};
    }
  }
  return box;
}

void set_colour(cairo_t* context, const Colour& colour, double brightness, double share) {
  const auto channel = [&](uint8_t value) { return std::min(1.0, value / 255.0 * brightness) * share; };
  cairo_set_source_rgb(context, channel(colour.red), channel(colour.green), channel(colour.blue));
}

void add_noise(cairo_surface_t* surface, uint64_t seed) {
  cairo_surface_flush(surface);
  const int width = cairo_image_surface_get_width(surface), height = cairo_image_surface_get_height(surface);
  const int stride = cairo_image_surface_get_stride(surface);
  unsigned char* data = cairo_image_surface_get_data(surface);
  uint32_t state = static_cast<uint32_t>(seed) | 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      const int delta = static_cast<int>(state >> 8) % 9 - 4;
      unsigned char* pixel = data + static_cast<ptrdiff_t>(y) * stride + 4 * x;
      for (int c = 0; c < 3; ++c) pixel[c] = static_cast<unsigned char>(std::clamp(pixel[c] + delta, 0, 255));
    }
  }
  cairo_surface_mark_dirty(surface);
}

TextLayout lay_out_text(cairo_t* context, const std::string& text, const char* font, double pixels) {
  TextLayout layout(pango_cairo_create_layout(context));
  PangoFontDescription* description = pango_font_description_from_string(font);
  pango_font_description_set_absolute_size(description, pixels * PANGO_SCALE);
  pango_layout_set_font_description(layout.get(), description);
  pango_font_description_free(description);
  pango_layout_set_text(layout.get(), text.c_str(), static_cast<int>(text.size()));
  if (pango_layout_get_unknown_glyphs_count(layout.get()) > 0)
    fail("the font '{}' cannot draw '{}'; install fonts-noto-color-emoji and fonts-dejavu-core", font, text);
  return layout;
}

Image to_picture(const Surface& surface) {
  cairo_surface_flush(surface.get());
  Image picture;
  picture.width = cairo_image_surface_get_width(surface.get());
  picture.height = cairo_image_surface_get_height(surface.get());
  picture.pixels.reserve(static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height) * 3);
  for (int y = 0; y < picture.height; ++y) {
    const uint32_t* pixels = row_pixels(surface.get(), y);
    for (int x = 0; x < picture.width; ++x)
      for (const int shift : {16, 8, 0}) picture.pixels.push_back(static_cast<uint8_t>(pixels[x] >> shift));
  }
  return picture;
}

}  // namespace dvlm
