// Rounding rows of weights to eight and four bits; activations are rounded where linear() packs them.
#pragma once
#include <cstdint>
#include <span>

#include "core/types.h"

namespace dvlm {

// W8A8's e4m3 (docs/reference.md, FP8 weights): symmetric, scale = max |w| / 448, codes = e4m3(w / scale).
// A row of zeros gets the scale 1e-10 / 448. Returns the scale.
float quantize_e4m3(std::span<const float> row, e4m3* codes);

// scale = max |w| / 127 (1 for a row of zeros, and for one so small that its scale would be subnormal), codes
// = w / scale rounded to nearest even. Returns the scale.
float quantize_int8(std::span<const float> row, int8_t* codes);

// The value of largest magnitude over -8: the codes of a group, 0 to 15, then stand for (code - 8) * scale,
// one more level than symmetric rounding has.
float int4_scale(std::span<const float> group);
// Codes are 8 + group / scale rounded to nearest even, within 0 and 15; 8 where the scale is 0.
void quantize_int4(std::span<const float> group, float scale, uint8_t* codes);

// Scales of groups as f16 times a factor that all share: 1 where f16 holds them as they are, else the power
// of two that brings the largest into reach. So those of BF16 stay exact, too, unless they are 2^28 apart.
// Returns the factor; NaN where a scale is not finite.
float halve_scales(std::span<const float> scales, f16* out);

}  // namespace dvlm
