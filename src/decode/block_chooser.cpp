#include "decode/block_chooser.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr double kForget = 0.93;  // of the evidence at a place, per new piece
constexpr double kPriorSeen = 2, kPriorChance = 0.8;
constexpr int kProbe = 48;  // steps without a draft after which one is tried again

void add(double right, auto& evidence) {
  evidence.right = kForget * evidence.right + right;
  evidence.seen = kForget * evidence.seen + 1;
}

}  // namespace

double CostCurve::of(int rows) const {
  DVLM_ASSERT(!points.empty());
  const auto above =
      std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.first >= rows; });
  if (above == points.end()) return points.back().second;
  if (above == points.begin()) return above->second;
  const auto below = above - 1;
  const double share = static_cast<double>(rows - below->first) / (above->first - below->first);
  return below->second + share * (above->second - below->second);
}

BlockChooser::BlockChooser(PassCosts costs, int largest)
    : costs_(std::move(costs)), largest_(largest), places_(static_cast<size_t>(std::max(1, largest))) {}

double BlockChooser::chance(size_t draft) const {
  const double common = (all_.right + kPriorSeen * kPriorChance) / (all_.seen + kPriorSeen);
  const Evidence& place = places_[draft];
  return (place.right + kPriorSeen * common) / (place.seen + kPriorSeen);
}

// A block of b costs a draft and a verification and gives the drafts that are right and one token more.
double BlockChooser::rate(int block) const {
  if (block == 1) return 1 / costs_.exact.of(1);
  double tokens = 1, reached = 1;
  for (int i = 1; i < block; ++i) {
    reached *= chance(static_cast<size_t>(i));
    tokens += reached;
  }
  return tokens / (costs_.draft.of(block) + costs_.exact.of(block));
}

int BlockChooser::choose(int limit) {
  const int largest = std::min(largest_, limit);
  int best = 1, best_draft = 1;
  for (int block = 2; block <= largest;
       block = block < largest ? std::min(2 * block, largest) : largest + 1) {
    if (rate(block) > rate(best)) best = block;
    if (best_draft == 1 || rate(block) > rate(best_draft)) best_draft = block;
  }
  if (best > 1 || ++steps_alone_ < kProbe) return best;
  steps_alone_ = 0;
  return best_draft;
}

void BlockChooser::record(int block, int accepted, bool cut) {
  if (block > 1) steps_alone_ = 0;
  for (int i = 1; i < block && i <= accepted + (cut ? 0 : 1); ++i) {
    const double right = i <= accepted ? 1 : 0;
    add(right, places_[static_cast<size_t>(i)]);
    add(right, all_);
  }
}

}  // namespace dvlm
