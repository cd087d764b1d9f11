// What passes cost on this machine right now.
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// Times passes that choose in every row: approximate ones of 1 to `largest` rows, exact ones up to three
// times that or 128. Short passes are timed several times. Some seconds for a large model, milliseconds for a
// small one. In milliseconds. `watch`, which may be empty, hears of every pass; what it throws ends the
// measurement.
PassCosts measure_pass_costs(Model& model, int largest, const LayerWatch& watch = {});

// Noise only adds time: a pass takes no longer than a wider one took.
void settle(CostCurve& curve);

}  // namespace dvlm
