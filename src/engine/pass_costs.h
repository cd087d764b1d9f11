// What passes cost on this machine right now.
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// Times passes with logits for every row, a few of every width: approximate ones of 1 to `largest` rows,
// exact ones up to three times that or 128. Some seconds for a large model, milliseconds for a small one. In
// milliseconds.
PassCosts measure_pass_costs(Model& model, int largest);

}  // namespace dvlm
