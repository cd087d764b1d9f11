#include "synth/painter.h"

#include <pango/pangocairo.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int kSpriteSize = 72;                                   // pixels: longer side of a stored emoji
constexpr int kVisible = 24;                                      // alpha from which a pixel counts as drawn
constexpr double kSignWordHeight = 17.5, kSignNumberHeight = 21;  // font sizes in pixels on a card 36 high
constexpr double kSignHeight = 36, kSignPadding = 8;
constexpr int kTextScale = 2;  // sign text is stored at twice its size

struct ContextDeleter {
  void operator()(cairo_t* context) const { cairo_destroy(context); }
};
using Context = std::unique_ptr<cairo_t, ContextDeleter>;

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

// The tight box of pixels with at least `alpha`; empty (x2 <= x1) when there is none.
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

// A glyph of an ordinary font would come out all black; a colour glyph (even a grey one) does not.
bool has_colour(const Surface& surface) {
  cairo_surface_flush(surface.get());
  int bright = 0;
  for (int y = 0; y < cairo_image_surface_get_height(surface.get()); ++y) {
    const uint32_t* pixels = row_pixels(surface.get(), y);
    for (int x = 0; x < cairo_image_surface_get_width(surface.get()); ++x)
      bright += (pixels[x] >> 16 & 255) > 64 || (pixels[x] >> 8 & 255) > 64 || (pixels[x] & 255) > 64;
  }
  return bright > 100;
}

void set_colour(cairo_t* context, const Colour& colour, double brightness, double share = 1) {
  const auto channel = [&](uint8_t value) { return std::min(1.0, value / 255.0 * brightness) * share; };
  cairo_set_source_rgb(context, channel(colour.red), channel(colour.green), channel(colour.blue));
}

// Light that falls off a little in a random direction.
void shade(cairo_t* context, int width, int height, Random& random) {
  const double angle = random.between(0, 6.283), reach = std::max(width, height) / 2.0;
  const double dx = reach * std::cos(angle), dy = reach * std::sin(angle);
  cairo_pattern_t* light =
      cairo_pattern_create_linear(width / 2.0 - dx, height / 2.0 - dy, width / 2.0 + dx, height / 2.0 + dy);
  cairo_pattern_add_color_stop_rgba(light, 0, 1, 1, 1, 0.10);
  cairo_pattern_add_color_stop_rgba(light, 1, 0, 0, 0, 0.10);
  cairo_set_source(context, light);
  cairo_paint(context);
  cairo_pattern_destroy(light);
}

void paint_wood(cairo_t* context, int width, int height, Random& random) {
  set_colour(context, {"", 196, 150, 102}, random.between(0.92, 1.08));
  cairo_paint(context);
  const int grain_lines = height / 6;
  for (int i = 0; i < grain_lines; ++i) {
    const double y = random.between(0, height), bend = random.between(-5, 5);
    cairo_set_source_rgba(context, 0.36, 0.2, 0.08, random.between(0.05, 0.18));
    cairo_set_line_width(context, random.between(0.6, 2.2));
    cairo_move_to(context, 0, y);
    cairo_curve_to(context, width / 3.0, y + bend, width * 2 / 3.0, y - bend, width, y + bend / 2);
    cairo_stroke(context);
  }
  const double plank = random.between(46, 70);
  cairo_set_source_rgba(context, 0.25, 0.14, 0.06, 0.55);
  cairo_set_line_width(context, 1.2);
  for (double y = random.between(5, plank); y < height; y += plank) {
    cairo_move_to(context, 0, std::round(y));
    cairo_line_to(context, width, std::round(y));
  }
  cairo_stroke(context);
}

// Squares (checkered) or bands (striped) of the cloth's colour on white.
void paint_cloth(cairo_t* context, int width, int height, const Background& background, Random& random) {
  const double factor = random.between(0.95, 1.05);
  set_colour(context, {"", 248, 246, 242}, 1);
  cairo_paint(context);
  set_colour(context, kClothColours[static_cast<size_t>(background.colour)], factor);
  const int cell = 12 + static_cast<int>(random.below(11));
  const int offset = static_cast<int>(random.below(2 * cell));
  const bool checkered = background.pattern == Pattern::checkered, upright = random.uniform() < 0.5;
  for (int j = -2; j <= height / cell + 1; ++j) {
    for (int i = -2; i <= width / cell + 1; ++i) {
      const int parity = checkered ? i + j : upright ? i : j;
      if (parity % 2 != 0) continue;
      cairo_rectangle(context, i * cell + offset, j * cell + offset, cell, cell);
    }
  }
  cairo_set_antialias(context, CAIRO_ANTIALIAS_NONE);
  cairo_fill(context);
}

// Grey noise of a few levels. A generator of its own, since it draws once per pixel.
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

// Covers the whole surface (an ARGB32 image); the same background and size give the same pixels.
void paint_background(cairo_surface_t* surface, const Background& background) {
  const int width = cairo_image_surface_get_width(surface), height = cairo_image_surface_get_height(surface);
  Random random(background.texture, 1);
  cairo_t* context = cairo_create(surface);
  if (background.pattern == Pattern::plain) {
    set_colour(context, kTableColours[static_cast<size_t>(background.colour)], random.between(0.97, 1.03));
    cairo_paint(context);
    shade(context, width, height, random);
  } else if (background.pattern == Pattern::wood) {
    paint_wood(context, width, height, random);
  } else {
    paint_cloth(context, width, height, background, random);
  }
  cairo_destroy(context);
  if (background.noise) add_noise(surface, background.texture);
}

// One line of text as a raster cropped to its ink, in black (emoji keep their colours).
Surface set_text(const std::string& text, const char* font, double pixels) {
  Surface canvas = new_surface(static_cast<int>(pixels * (static_cast<double>(text.size()) + 2)),
                               static_cast<int>(pixels * 2));
  const Context context = draw_on(canvas);
  PangoLayout* layout = pango_cairo_create_layout(context.get());
  PangoFontDescription* description = pango_font_description_from_string(font);
  pango_font_description_set_absolute_size(description, pixels * PANGO_SCALE);
  pango_layout_set_font_description(layout, description);
  pango_layout_set_text(layout, text.c_str(), static_cast<int>(text.size()));
  const int unknown = pango_layout_get_unknown_glyphs_count(layout);
  cairo_move_to(context.get(), pixels / 2, pixels / 4);
  pango_cairo_show_layout(context.get(), layout);
  pango_font_description_free(description);
  g_object_unref(layout);
  const Box ink = ink_box(canvas, kVisible);
  if (unknown > 0 || ink.x2 <= ink.x1)
    fail("the font '{}' cannot draw '{}'; install fonts-noto-color-emoji and fonts-dejavu-core", font, text);
  Surface cropped = new_surface(ink.x2 - ink.x1, ink.y2 - ink.y1);
  const Context copy = draw_on(cropped);
  cairo_set_source_surface(copy.get(), canvas.get(), -ink.x1, -ink.y1);
  cairo_paint(copy.get());
  return cropped;
}

Surface shrink_to(const Surface& source, int longer_side) {
  const double width = cairo_image_surface_get_width(source.get());
  const double height = cairo_image_surface_get_height(source.get());
  const double scale = longer_side / std::max(width, height);
  Surface small =
      new_surface(static_cast<int>(std::ceil(width * scale)), static_cast<int>(std::ceil(height * scale)));
  const Context context = draw_on(small);
  cairo_scale(context.get(), scale, scale);
  cairo_set_source_surface(context.get(), source.get(), 0, 0);
  cairo_pattern_set_filter(cairo_get_source(context.get()), CAIRO_FILTER_BEST);
  cairo_paint(context.get());
  return small;
}

// Draws `source` centred on the origin, `scale` times its size.
void draw_centred(cairo_t* context, const Surface& source, double scale) {
  cairo_save(context);
  cairo_scale(context, scale, scale);
  cairo_set_source_surface(context, source.get(), -cairo_image_surface_get_width(source.get()) / 2.0,
                           -cairo_image_surface_get_height(source.get()) / 2.0);
  cairo_pattern_set_filter(cairo_get_source(context), CAIRO_FILTER_GOOD);
  cairo_paint(context);
  cairo_restore(context);
}

void polygon(cairo_t* context, int corners, double radius, double inner) {
  for (int i = 0; i < corners; ++i) {
    const double angle = 2 * std::numbers::pi * i / corners - std::numbers::pi / 2;
    const double r = i % 2 == 1 && inner > 0 ? inner : radius;
    cairo_line_to(context, r * std::cos(angle), r * std::sin(angle));
  }
  cairo_close_path(context);
}

// The outlines of kShapes in their order, about `size` across.
void outline_shape(cairo_t* context, int shape, double size) {
  cairo_new_path(context);
  if (shape == 0) cairo_arc(context, 0, 0, size / 2, 0, 2 * std::numbers::pi);
  if (shape == 1) cairo_rectangle(context, -size / 2, -size / 2, size, size);
  if (shape == 2) polygon(context, 3, size * 0.56, 0);
  if (shape == 3) polygon(context, 10, size * 0.53, size * 0.23);
}

void draw_shape(cairo_t* context, const Object& object) {
  const Colour& colour = kColours[static_cast<size_t>(object.colour)];
  outline_shape(context, object.noun, object.size);
  set_colour(context, colour, object.brightness);
  cairo_fill_preserve(context);
  set_colour(context, colour, object.brightness, 0.45);
  cairo_set_line_width(context, 1.8);
  cairo_set_line_join(context, CAIRO_LINE_JOIN_ROUND);
  cairo_stroke(context);
}

double sign_width(const Surface& text) {
  return std::max(46.0, cairo_image_surface_get_width(text.get()) / double{kTextScale} + 2 * kSignPadding);
}

void draw_sign(cairo_t* context, const Object& object, const Surface& text) {
  const double scale = object.size / kSignHeight, width = sign_width(text);
  cairo_scale(context, scale, scale);
  cairo_rectangle(context, -width / 2, -kSignHeight / 2, width, kSignHeight);
  cairo_set_source_rgb(context, 1, 1, 1);
  cairo_fill_preserve(context);
  cairo_set_source_rgb(context, 0.12, 0.12, 0.14);
  cairo_set_line_width(context, 2.5);
  cairo_stroke(context);
  draw_centred(context, text, 1.0 / kTextScale);
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

}  // namespace

void SurfaceDeleter::operator()(cairo_surface_t* surface) const {
  cairo_surface_destroy(surface);
}

Painter::Painter() {
  for (const Noun& noun : kThings) {
    const Surface glyph = set_text(noun.glyph, "Noto Color Emoji", 109);
    if (!has_colour(glyph))
      fail("there is no colour glyph for '{}'; install fonts-noto-color-emoji 2.038 or newer", noun.name);
    things_.push_back(shrink_to(glyph, kSpriteSize));
  }
  const auto add_sign = [&](const std::string& text, double height) {
    sign_text_.emplace(text, set_text(text, "DejaVu Sans Bold", height * kTextScale));
  };
  for (const char* word : kSignWords) add_sign(word, kSignWordHeight);
  for (int number = 10; number < 100; ++number) add_sign(std::to_string(number), kSignNumberHeight);
}

Painter::Cutout Painter::cut_out(const Object& object) const {
  const double reach = object.kind == Kind::sign ? sign_width(sign_text_.at(object.text)) * 1.1 : object.size;
  const int side = static_cast<int>(std::ceil(reach * 1.3)) + 4;
  Surface surface = new_surface(side, side);
  const Context context = draw_on(surface);
  cairo_translate(context.get(), side / 2.0, side / 2.0);
  cairo_rotate(context.get(), object.angle);
  if (object.kind == Kind::thing)
    draw_centred(context.get(), things_[static_cast<size_t>(object.noun)], object.size / kSpriteSize);
  else if (object.kind == Kind::shape)
    draw_shape(context.get(), object);
  else
    draw_sign(context.get(), object, sign_text_.at(object.text));
  const Box ink = ink_box(surface, kVisible);
  return {std::move(surface), ink};
}

PixelSize Painter::measure(const Object& object) {
  const Box ink = cut_out(object).ink;
  return {ink.x2 - ink.x1, ink.y2 - ink.y1};
}

Image Painter::paint(const Scene& scene) {
  const Surface surface = new_surface(scene.width, scene.height);
  paint_background(surface.get(), scene.background);
  const Context context = draw_on(surface);
  for (const Object& object : scene.objects) {
    const Cutout cutout = cut_out(object);
    const Box& box = object.box;
    cairo_set_source_surface(context.get(), cutout.surface.get(), box.x1 - cutout.ink.x1,
                             box.y1 - cutout.ink.y1);
    // Only the box: fainter pixels around it would make the ground truth a little untrue.
    cairo_rectangle(context.get(), box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1);
    cairo_fill(context.get());
  }
  return to_picture(surface);
}

Image Painter::paint_catalog() {
  constexpr int kColumns = 6, kCell = 72;
  const int rows = (static_cast<int>(kThings.size()) + kColumns - 1) / kColumns;
  const Surface surface = new_surface(kColumns * kCell, rows * kCell);
  const Context context = draw_on(surface);
  cairo_set_source_rgb(context.get(), 1, 1, 1);
  cairo_paint(context.get());
  for (int i = 0; i < static_cast<int>(kThings.size()); ++i) {
    const int row = i / kColumns, column = i % kColumns;
    cairo_save(context.get());
    cairo_translate(context.get(), (column + 0.5) * kCell, (row + 0.5) * kCell);
    draw_centred(context.get(), things_[static_cast<size_t>(i)], 50.0 / kSpriteSize);
    cairo_restore(context.get());
  }
  return to_picture(surface);
}

}  // namespace dvlm
