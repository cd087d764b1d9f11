// Rounding rows of weights to eight and four bits; activations are rounded where linear() packs them.
#pragma once
#include <cstdint>
#include <span>

#include "core/types.h"

namespace dvlm {

// W8A8's e4m3 (docs/reference.md, FP8 weights): symmetric, scale = max |w| / 448, codes = e4m3(w / scale).
// A row of zeros gets the scale 1e-10 / 448. Returns the scale.
float quantize_e4m3(std::span<const float> row, e4m3* codes);

// scale = max |w| / 127 (1 for a row of zeros), codes = w / scale rounded to nearest even. Returns the scale.
float quantize_int8(std::span<const float> row, int8_t* codes);

// The value of largest magnitude over -8 is the scale (1 for zeros), rounded to bf16; codes are 8 + group /
// scale rounded to nearest even, 0 to 15: one more level than symmetric rounding has. Returns the scale.
bf16 quantize_int4(std::span<const float> group, uint8_t* codes);

}  // namespace dvlm
