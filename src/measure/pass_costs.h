// What passes cost on this machine right now: benchmarks measure it, so that no answer of theirs has to learn
// it first (engine/guess_costs.h).
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// Times passes that choose in every row: exact ones of up to widest_exact(largest) rows, and, of a model that
// has them, approximate ones of up to `largest`. Short passes are timed several times. A second or two for a
// large model, milliseconds for a small one. In milliseconds.
PassCosts measure_pass_costs(Model& model, int largest);

// Noise only adds time: a pass takes no longer than a wider one took.
void settle(CostCurve& curve);

}  // namespace dvlm
