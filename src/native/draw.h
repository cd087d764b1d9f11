// One draw from a row of logits.
#pragma once
#include <span>

#include "model/model.h"

namespace dvlm {

// Sets token and probability. `row`: -infinity where nothing may be chosen; `best`: its largest value, above
// -infinity. The same token as choose() gives, up to the rounding of sums.
void draw(std::span<const float> row, float best, const Wanted& wanted, Chosen& chosen);

}  // namespace dvlm
