// What passes may cost, before they were seen.
#pragma once
#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// A pass that chose in every row, or one that read a prompt.
struct SeenPass {
  int rows = 0;
  double ms = 0;
};

// Goes by a pass of few rows and by the widest one that read a prompt (no rows: there was none), where rows
// are cheapest: a pass takes no less than a narrower one, nor than its rows take in a prompt. That is too
// little for some widths, so they are tried once or twice, and known from then on (CostCurve::learn); what is
// dear by this already is left alone. For blocks of at most `largest` tokens. `memory` says what weights and
// drafts are read.
PassCosts guess_costs(const WeightMemory& memory, int largest, SeenPass narrow, SeenPass prompt);

}  // namespace dvlm
