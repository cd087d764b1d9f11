// How many tokens to draft next: what drafts have been worth so far against what passes cost on this machine.
// The text does not depend on it (speculation is lossless), only the speed.
#pragma once
#include <cstddef>
#include <utility>
#include <vector>

namespace dvlm {

// The time of a pass by the number of its rows, in any unit.
struct CostCurve {
  std::vector<std::pair<int, double>> points;  // ascending rows, at least one
  double of(int rows) const;                   // between points linear, beyond them the nearest
};

struct PassCosts {
  CostCurve exact, draft;  // of passes that decide, and of those that only draft
};

class BlockChooser {
 public:
  BlockChooser(PassCosts costs, int largest);

  // Tokens of the next block, the known first one included, at most `limit`; 1 is a plain autoregressive
  // step.
  int choose(int limit);

  // A block of `block` tokens was verified and its first `accepted` drafts were right; `cut`: the text ended
  // there, which says nothing about the next draft.
  void record(int block, int accepted, bool cut);

 private:
  struct Evidence {
    double right = 0,
           seen = 0;  // drafts at one place whose predecessors were right, older ones counting less
  };
  double chance(size_t draft) const;  // that a draft is right, given that those before it are
  double rate(int block) const;       // tokens per unit of time

  PassCosts costs_;
  int largest_;
  std::vector<Evidence> places_;
  Evidence all_;
  int steps_alone_ = 0;  // since the last draft
};

}  // namespace dvlm
