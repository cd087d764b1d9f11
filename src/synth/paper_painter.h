// Draws charts and documents.
#pragma once
#include "synth/pen.h"

namespace dvlm {

// On a transparent surface of the paper's size, which they fill.
void paint_chart(cairo_t* context, Pen& pen, const Paper& chart);
void paint_document(cairo_t* context, Pen& pen, const Paper& document);

}  // namespace dvlm
