#include "decode/block_chooser.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr double kForget = 0.93;  // of the evidence at a place, per new piece
constexpr double kPriorSeen = 2;
constexpr int kProbe = 48;  // steps without a draft after which one is tried again
constexpr int kBranches[] = {1, 2, 3, 4, 6, 8};

void add(double right, auto& evidence) {
  evidence.right = kForget * evidence.right + right;
  evidence.seen = kForget * evidence.seen + 1;
}

}  // namespace

double CostCurve::of(int rows) const {
  DVLM_ASSERT(!points.empty());
  if (points.size() == 1 || rows <= points[0].first) return points[0].second;
  auto above = std::find_if(points.begin(), points.end(), [&](const auto& p) { return p.first >= rows; });
  if (above == points.end()) --above;
  const auto below = above - 1;
  const double share = static_cast<double>(rows - below->first) / (above->first - below->first);
  return below->second + share * (above->second - below->second);
}

void DraftHistory::record(int block, int accepted, bool cut) {
  for (int i = 1; i < block && i <= accepted + (cut ? 0 : 1); ++i) {
    const double right = i <= accepted ? 1 : 0;
    add(right, places_[static_cast<size_t>(i)]);
    add(right, all_);
  }
}

double DraftHistory::chance(int draft, double prior) const {
  const double common = (all_.right + kPriorSeen * prior) / (all_.seen + kPriorSeen);
  const Evidence& place = places_[static_cast<size_t>(draft)];
  return (place.right + kPriorSeen * common) / (place.seen + kPriorSeen);
}

double DraftHistory::tokens(int block, double prior) const {
  double tokens = 1, reached = 1;
  for (int i = 1; i < block; ++i) {
    reached *= chance(i, prior);
    tokens += reached;
  }
  return tokens;
}

std::vector<double> DraftHistory::ends(int block, double prior) const {
  std::vector<double> out;
  double reached = 1;
  for (int i = 1; i <= block; ++i) {
    const double right = i < block ? chance(i, prior) : 0;
    out.push_back(reached * (1 - right));
    reached *= right;
  }
  return out;
}

std::vector<int> DraftHistory::likely_ends(int block, int count, double prior) const {
  const std::vector<double> probability = ends(block, prior);
  std::vector<int> places(probability.size());
  std::iota(places.begin(), places.end(), 1);
  std::stable_sort(places.begin(), places.end(), [&](int a, int b) {
    return probability[static_cast<size_t>(a - 1)] > probability[static_cast<size_t>(b - 1)];
  });
  places.resize(std::min(places.size(), static_cast<size_t>(count)));
  std::sort(places.begin(), places.end());
  return places;
}

double DraftHistory::covered(int block, int count, double prior) const {
  const std::vector<double> probability = ends(block, prior);
  double sum = 0;
  for (const int place : likely_ends(block, count, prior)) sum += probability[static_cast<size_t>(place - 1)];
  return sum;
}

BlockChooser::BlockChooser(PassCosts costs, int largest)
    : costs_(std::move(costs)), largest_(std::max(1, largest)), drafted_(largest_), branched_(largest_) {}

double BlockChooser::rate(RoundPlan plan) const {
  const int block = plan.block;
  if (block == 1) return 1 / exact(1);
  if (plan.branches == 0) return drafted_.tokens(block, kPriorChance) / (draft(block) + exact(block));
  // An end without a branch costs a pass that verifies one token and drafts.
  const double missed = 1 - branched_.covered(block, plan.branches, kPriorBranchChance);
  const double tokens = branched_.tokens(block, kPriorBranchChance) + missed;
  return tokens / (exact(block + plan.branches * (block - 1)) + missed * exact(block));
}

RoundPlan BlockChooser::choose(int limit) {
  const int largest = std::min(largest_, limit);
  RoundPlan best, best_draft;
  const auto consider = [&](RoundPlan plan) {
    if (rate(plan) > rate(best)) best = plan;
    if (best_draft.block == 1 || rate(plan) > rate(best_draft)) best_draft = plan;
  };
  for (int block = 2; block <= largest;
       block = block < largest ? std::min(2 * block, largest) : largest + 1) {
    consider({block, 0});
    for (const int branches : kBranches) {
      if (branches <= block && (block + branches * (block - 1)) * sharing_ <= costs_.exact.most())
        consider({block, branches});
    }
  }
  if (best.block > 1 || ++steps_alone_ < kProbe) return best;
  steps_alone_ = 0;
  return best_draft;
}

void BlockChooser::record(int block, int accepted, bool cut, bool branch) {
  if (block > 1) steps_alone_ = 0;
  (branch ? branched_ : drafted_).record(block, accepted, cut);
}

}  // namespace dvlm
