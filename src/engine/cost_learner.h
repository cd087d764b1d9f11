// Teaches choosers what passes cost, by the passes that answers make anyway.
#pragma once
#include <memory>
#include <span>

#include "decode/block_chooser.h"
#include "model/model.h"

namespace dvlm {

// What a pass carried, and how long it took.
struct SeenPass {
  int rows = 0;
  double ms = 0;
};

// Goes by a pass of few rows and by one that read a prompt (no rows: there was none), where rows are
// cheapest: a pass takes no less than a narrower one, nor than its rows take in a prompt. That is too little
// for some widths, so they are tried once or twice, and known from then on (CostCurve::learn); what is dear
// by this already is left alone. For blocks of at most `largest` tokens. `memory` says what weights and
// drafts are read.
PassCosts guess_costs(const WeightMemory& memory, int largest, SeenPass narrow, SeenPass prompt);

// Goes on to what choosing among larger blocks asks about; costs of nothing stay so.
void widen(PassCosts& costs, int largest);

std::shared_ptr<BlockChooser> new_chooser(const Model& model, int largest, const PassCosts& costs = {},
                                          const DraftEvidences& known = {});

class CostLearner {
 public:
  // `memory`: of the model whose passes it sees.
  explicit CostLearner(const WeightMemory& memory) : memory_(memory) {}

  // A pass that read prompts and nothing else.
  void read(std::span<const Segment> segments, double ms);
  // A pass that wrote, for these. One that knows no costs gets a guess for blocks of at most `largest`.
  void wrote(std::span<const Segment> segments, double ms, std::span<BlockChooser* const> choosers,
             int largest) const;

 private:
  WeightMemory memory_;
  SeenPass prompt_;  // the widest
};

}  // namespace dvlm
