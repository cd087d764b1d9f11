// What passes cost on this machine right now.
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// Times passes of 1 to `largest` rows with logits for each, exact and approximate, a few of every width: some
// seconds for a large model, milliseconds for a small one. In milliseconds.
PassCosts measure_pass_costs(Model& model, int largest);

}  // namespace dvlm
