#include "synth/painter.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "synth/canvas.h"

namespace dvlm {

namespace {

constexpr int kSpriteSize = 72;                                   // pixels: longer side of a stored emoji
constexpr double kSignWordHeight = 17.5, kSignNumberHeight = 21;  // font sizes in pixels on a card 36 high
constexpr double kSignHeight = 36, kSignPadding = 8;
constexpr int kTextScale = 2;  // sign text is stored at twice its size

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

// One line of text as a raster cropped to its ink, in black (emoji keep their colours).
Surface set_text(const std::string& text, const char* font, double pixels) {
  Surface canvas = new_surface(static_cast<int>(pixels * (static_cast<double>(text.size()) + 2)),
                               static_cast<int>(pixels * 2));
  const Context context = draw_on(canvas);
  const TextLayout layout = lay_out_text(context.get(), text, font, pixels);
  cairo_move_to(context.get(), pixels / 2, pixels / 4);
  pango_cairo_show_layout(context.get(), layout.get());
  const Box ink = ink_box(canvas, kVisible);
  if (ink.x2 <= ink.x1) fail("the font '{}' draws nothing for '{}'", font, text);
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

}  // namespace

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
