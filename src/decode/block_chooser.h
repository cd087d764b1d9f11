// How much to draft next, and how: what drafts have been worth so far against what passes cost on this
// machine. The text does not depend on it (speculation is lossless), only the speed.
#pragma once
#include <cstddef>
#include <utility>
#include <vector>

namespace dvlm {

// The time of a pass by the number of its rows, in any unit.
struct CostCurve {
  std::vector<std::pair<int, double>> points;  // ascending rows, at least one
  // Between points linear; beyond the last one as from the one before it; before the first one as there.
  double of(int rows) const;
  int most() const { return points.back().first; }
};

struct PassCosts {
  CostCurve exact, draft;  // of passes that decide, and of those that only draft
};

// How often drafts were right, by their place in the block, given that those before them were; older ones
// count less.
class DraftHistory {
 public:
  explicit DraftHistory(int largest) : places_(static_cast<size_t>(largest)) {}

  // A block of `block` tokens, the known first one included, was verified and its first `accepted` drafts
  // were right; `cut`: the text ended there, which says nothing about the next draft.
  void record(int block, int accepted, bool cut);
  // Of draft i = 1, 2, ..., when those before it are right. `prior`: what to believe without evidence.
  double chance(int draft, double prior) const;
  // Tokens that verifying a block gives: the drafts that are right and one more.
  double tokens(int block, double prior) const;
  // Places 1 to `block` at which verification most probably ends (that many inputs are right), at most
  // `count`, ascending.
  std::vector<int> likely_ends(int block, int count, double prior) const;
  // The probability that it ends at one of `count` such places.
  double covered(int block, int count, double prior) const;

 private:
  struct Evidence {
    double right = 0, seen = 0;
  };
  std::vector<double> ends(int block, double prior) const;  // [i]: probability of i + 1
  std::vector<Evidence> places_;
  Evidence all_;
};

// Without evidence: of drafts that know the token before them, and of drafts made beside its verification.
constexpr double kPriorChance = 0.8, kPriorBranchChance = 0.7;

struct RoundPlan {
  int block = 1;     // tokens of the next draft, its first token included; 1: none
  int branches = 0;  // 0: a pass of its own drafts; else one pass verifies and drafts for so many outcomes
};

class BlockChooser {
 public:
  // Blocks of at most `largest` tokens.
  BlockChooser(PassCosts costs, int largest);

  // The plan of most tokens per time, for blocks of at most `limit`.
  RoundPlan choose(int limit);
  // So many texts share each pass from now on, each with its own rows.
  void set_sharing(int texts) { sharing_ = texts; }

  // See DraftHistory; `branch`: the draft was made beside the verification of its predecessors.
  void record(int block, int accepted, bool cut, bool branch);
  const DraftHistory& branches() const { return branched_; }

 private:
  double rate(RoundPlan plan) const;  // tokens per unit of time
  double exact(int rows) const { return costs_.exact.of(rows * sharing_); }
  // Beside passes that decide, drafts cannot be cheaper than they.
  double draft(int rows) const { return sharing_ > 1 ? exact(rows) : costs_.draft.of(rows); }

  PassCosts costs_;
  int largest_, sharing_ = 1;
  DraftHistory drafted_, branched_;
  int steps_alone_ = 0;  // since the last draft
};

}  // namespace dvlm
