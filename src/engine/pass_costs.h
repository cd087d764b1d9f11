// What passes cost on this machine right now.
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// Times passes that choose in every row: exact ones of up to three times `largest` rows or 128, and, of a
// model that has them, approximate ones of up to `largest`. Short passes are timed several times. A
// second or two for a large model, milliseconds for a small one. In milliseconds. `watch`, which may be
// empty, hears of every pass; what it throws ends the measurement.
PassCosts measure_pass_costs(Model& model, int largest, const LayerWatch& watch = {});

// Noise only adds time: a pass takes no longer than a wider one took.
void settle(CostCurve& curve);

}  // namespace dvlm
