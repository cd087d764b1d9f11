// How much to draft next, and how, and how much of a draft to verify: what drafts have been worth so far
// against what passes cost on this machine. The text does not depend on it (speculation is lossless), only
// the speed.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace dvlm {

// Of two passes one may have met a bad moment of the machine.
constexpr int kUnseen = 2;

struct CostPoint {
  int rows = 0;
  double time = 0;
  int unseen = 0;  // so many passes of about these rows settle their time at once; kUnseen: it is a guess

  bool operator==(const CostPoint&) const = default;
};

// The time of a pass by the number of its rows, in any unit.
struct CostCurve {
  std::vector<CostPoint> points;  // ascending rows; none: nothing is known
  // Time is linear between points and beyond the last one, as from the one before it; fewer rows than the
  // first point's cost as much as those.
  double of(int rows) const;
  // A pass took so long just now: moves the curve towards that, a little where it was known, or goes on to
  // it. Where a guess was too high, so are those for wider passes, which nobody would try.
  void learn(int rows, double time);
  int most() const { return points.back().rows; }
};

struct PassCosts {
  CostCurve exact;  // of passes that decide
  CostCurve draft;  // of approximate passes, which only draft; no points: the model has none
};

// The rows of the widest exact pass that choosing among blocks of up to `largest` tokens asks about: up to
// three blocks, but no wider than would ever pay.
int widest_exact(int largest);
// Rows of passes whose times are known one by one: 1, 2, 4, ... `largest`.
std::vector<int> cost_widths(int largest);

// What made a draft: a pass of its own, with approximate arithmetic or exact, or rows beside the verification
// of the tokens before it, which are exact.
enum class DraftSource : uint8_t { approximate, exact, branch };

// The confidence in what a grammar leaves no choice for: no draft, but known.
constexpr float kCertain = 2;

// How often drafts were right, given that those before them were; older ones count less. Plain numbers, which
// outlive a process (engine/cost_file.h).
struct DraftEvidence {
  struct Count {
    double right = 0, seen = 0;
  };
  std::vector<Count> places;  // by place in the block
  Count all;
  std::array<Count, 11> sure;  // by confidence
  // What the ends that confidence calls likely leave out, as a share of what those that places call likely
  // do.
  Count left_out;
};

// What drafts are worth: by their place in the block, for what is not drafted yet, and by the model's
// confidence in them, its probability of the drafted token. Draft i = 1, 2, ... of a block stands behind i
// inputs, of which the first is known to be right.
class DraftHistory {
 public:
  // `prior`: the chance of a draft without evidence. `known`: of earlier blocks, of any size.
  DraftHistory(int largest, double prior, DraftEvidence known = {})
      : prior_(prior), evidence_(std::move(known)) {
    evidence_.places.resize(static_cast<size_t>(largest));
  }
  const DraftEvidence& evidence() const { return evidence_; }

  // A block with these confidences in its drafts was verified; the first `right` were right; `cut`: nobody
  // knows about the next one, else it was wrong. What was known teaches nothing and has no place.
  void record(std::span<const float> confidences, int right, bool cut);

  // Tokens that verifying a block of `block` gives: the drafts that are right and one more.
  double tokens(int block) const;
  // The probability that verification ends at one of the `count` places that likely_ends() will tell.
  double covered(int block, int count) const;

  // The probability that a draft is right when those before it are.
  double chance(float confidence) const;
  // Places, 1 to one more than there are drafts, at which verification most probably ends (that many inputs
  // are right), at most `count`, ascending.
  std::vector<int> likely_ends(std::span<const float> confidences, int count) const;

 private:
  double chance_at(int draft) const;
  std::vector<double> chances_by_place(int block) const;
  std::vector<double> chances(std::span<const float> confidences) const;

  double prior_;
  DraftEvidence evidence_;
};

using DraftEvidences = std::array<DraftEvidence, 3>;  // by DraftSource

// The chance of a draft without evidence: of one that knows the token before it, and of one made beside its
// verification.
constexpr double kPriorChance = 0.8, kPriorBranchChance = 0.7;

struct RoundPlan {
  int block = 1;     // tokens of the next draft, its first token included; 1: none
  int branches = 0;  // 0: a pass of its own drafts; else one pass verifies and drafts for so many outcomes
  double rate = 0;   // tokens per unit of time that the best plan promises
  DraftSource source = DraftSource::approximate;
};

class BlockChooser {
 public:
  // Blocks of at most `largest` tokens. `known`: what an earlier chooser had learnt. Without costs it chooses
  // a short block, drafted approximately where the model can (`approximates`), until it gets some.
  BlockChooser(PassCosts costs, int largest, const DraftEvidences& known = {}, bool approximates = false);
  const PassCosts& costs() const { return costs_; }
  void set_costs(PassCosts costs) { costs_ = std::move(costs); }

  // The plan of most tokens per time, for blocks of at most `limit` behind `known` tokens that passes carry
  // and that are right.
  RoundPlan choose(int limit, int known = 0);
  // So many texts share each pass from now on, each with its own rows.
  void set_sharing(int texts) { sharing_ = texts; }

  // How many inputs of a drafted block to verify, the known first one included, in a pass that also has the
  // plan's branches: as long as more of them gain more tokens than the same time would give elsewhere.
  int worth_verifying(std::span<const float> confidences, const RoundPlan& plan, DraftSource source) const;

  // What a pass of so many rows, of one text or several, took in the unit of the costs: machines change while
  // they work.
  void saw_pass(int rows, bool approximate, double time) {
    CostCurve& curve = approximate && approximates() ? costs_.draft : costs_.exact;
    if (!curve.points.empty()) curve.learn(rows, time);
  }

  // See DraftHistory.
  void record(std::span<const float> confidences, int right, bool cut, DraftSource source);
  const DraftHistory& history(DraftSource source) const { return drafts_[static_cast<size_t>(source)]; }
  DraftEvidences evidence() const;

 private:
  double rate(RoundPlan plan, int known) const;  // tokens per unit of time
  double exact(int rows) const { return costs_.exact.of(rows * sharing_); }
  bool approximates() const {
    return costs_.exact.points.empty() ? approximates_ : !costs_.draft.points.empty();
  }
  // A draft that shares its pass with rows that decide is computed as exactly as they.
  bool may_approximate() const { return approximates() && sharing_ == 1; }

  PassCosts costs_;
  int largest_, sharing_ = 1;
  bool approximates_;
  std::array<DraftHistory, 3> drafts_;  // by source
  // Rounds since a draft was made at all, and since an approximate one was.
  int without_draft_ = 0, without_approximate_ = 0;
};

}  // namespace dvlm
