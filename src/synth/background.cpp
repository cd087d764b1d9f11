// Tables and cloths.
#include <algorithm>
#include <cmath>

#include "synth/canvas.h"

namespace dvlm {

namespace {

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

}  // namespace

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

}  // namespace dvlm
