// The table or cloth under the objects.
#pragma once
#include "synth/painter.h"

namespace dvlm {

// Covers the whole surface (an ARGB32 image); the same background and size give the same pixels.
void paint_background(cairo_surface_t* surface, const Background& background);

}  // namespace dvlm
