// What all drawings share: Cairo's surfaces, colours, noise, lines of text.
#pragma once
#include <pango/pangocairo.h>

#include <memory>
#include <string>

#include "image/image.h"
#include "synth/catalog.h"
#include "synth/painter.h"

namespace dvlm {

inline constexpr int kVisible = 24;  // alpha from which a pixel counts as drawn

struct ContextDeleter {
  void operator()(cairo_t* context) const { cairo_destroy(context); }
};
using Context = std::unique_ptr<cairo_t, ContextDeleter>;

struct LayoutDeleter {
  void operator()(PangoLayout* layout) const { g_object_unref(layout); }
};
using TextLayout = std::unique_ptr<PangoLayout, LayoutDeleter>;

Surface new_surface(int width, int height);  // transparent; throws Error
Context draw_on(const Surface& surface);

const uint32_t* row_pixels(cairo_surface_t* surface, int y);

// The tight box of pixels with at least `alpha`; empty (x2 <= x1) when there is none.
Box ink_box(const Surface& surface, uint32_t alpha);

// Channels times `brightness`, at most full, then times `share`.
void set_colour(cairo_t* context, const Colour& colour, double brightness, double share = 1);

// Grey noise of a few levels. A generator of its own, since it draws once per pixel.
void add_noise(cairo_surface_t* surface, uint64_t seed);

// Covers the whole surface (an ARGB32 image); the same background and size give the same pixels.
void paint_background(cairo_surface_t* surface, const Background& background);

// One line, `pixels` high. Throws Error when the font is missing or lacks a glyph.
TextLayout lay_out_text(cairo_t* context, const std::string& text, const char* font, double pixels);

Image to_picture(const Surface& surface);

}  // namespace dvlm
