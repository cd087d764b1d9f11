// Quantising weights to W8A8's e4m3 (spec section 8); activations are quantised where linear() packs them.
#pragma once
#include <span>

#include "core/types.h"

namespace dvlm {

// Symmetric, one scale per output row: scale = max |w| / 448, codes = e4m3(w / scale). A row of zeros gets
// the scale 1e-10 / 448. Returns the scale.
float quantize_row(std::span<const float> row, e4m3* codes);

}  // namespace dvlm
