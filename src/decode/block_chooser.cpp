#include "decode/block_chooser.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr double kForget = 0.93;  // of the evidence at a place, per new piece
constexpr double kPriorSeen = 2;
constexpr int kProbe = 48;  // rounds without a draft, or an approximate one, after which one is tried again
constexpr int kBranches[] = {1, 2, 3, 4, 6, 8};
constexpr double kDecibels = 5;  // of the odds of a draft, that share their evidence
constexpr double kLeastDecibels = -10;

void add(double right, DraftEvidence::Count& count) {
  count.right = kForget * count.right + right;
  count.seen = kForget * count.seen + 1;
}

double believed(const DraftEvidence::Count& count, double prior) {
  return (count.right + kPriorSeen * prior) / (count.seen + kPriorSeen);
}

// Index into DraftEvidence::sure: 5 decibels of the odds share a place.
size_t bucket(float confidence) {
  const double p = std::clamp(static_cast<double>(confidence), 1e-9, 1 - 1e-9);
  const double decibels = 10 * std::log10(p / (1 - p));
  return static_cast<size_t>(std::clamp((decibels - kLeastDecibels) / kDecibels, 0.0, 10.0));
}

// [i]: the probability that verification ends with i + 1 right inputs.
std::vector<double> ends(const std::vector<double>& chances) {
  std::vector<double> out;
  double reached = 1;
  for (const double right : chances) {
    out.push_back(reached * (1 - right));
    reached *= right;
  }
  out.push_back(reached);
  return out;
}

std::vector<int> likeliest(const std::vector<double>& ends, int count) {
  std::vector<int> places(ends.size());
  std::iota(places.begin(), places.end(), 1);
  std::stable_sort(places.begin(), places.end(), [&](int a, int b) {
    return ends[static_cast<size_t>(a - 1)] > ends[static_cast<size_t>(b - 1)];
  });
  places.resize(std::min(places.size(), static_cast<size_t>(count)));
  std::sort(places.begin(), places.end());
  return places;
}

// The probability of all ends but the `count` likeliest.
double uncovered(const std::vector<double>& ends, int count) {
  double sum = 1;
  for (const int place : likeliest(ends, count)) sum -= ends[static_cast<size_t>(place - 1)];
  return sum;
}

}  // namespace

double CostCurve::of(int rows) const {
  DVLM_ASSERT(!points.empty());
  if (points.size() == 1 || rows <= points[0].rows) return points[0].time;
  auto above = std::ranges::find_if(points, [&](const CostPoint& p) { return p.rows >= rows; });
  if (above == points.end()) --above;
  const auto below = above - 1;
  const double share = static_cast<double>(rows - below->rows) / (above->rows - below->rows);
  return below->time + share * (above->time - below->time);
}

void CostCurve::learn(int rows, double time) {
  // Of one pass, and however long it took: what was known, and a guess.
  constexpr double kTrust = 0.2, kMost = 2, kMostOfGuess = 4;
  if (!(time > 0) || !(of(rows) > 0)) return;
  // A width that is near to none gets a point of its own, or it would move one that is right.
  const auto above = std::ranges::find_if(points, [&](const CostPoint& point) { return point.rows >= rows; });
  const bool last = above == points.end();
  if (above != points.begin() && rows >= 2 * (above - 1)->rows && (last || above->rows >= 2 * rows)) {
    const double at_least = std::max(time, (above - 1)->time);
    points.insert(above, {rows, last ? at_least : std::min(at_least, above->time), 1});
    return;
  }
  const auto nearest = std::ranges::min_element(
      points, {}, [&](const CostPoint& point) { return std::abs(point.rows - rows); });
  const bool guessed = nearest->unseen > 0;
  const double bound = guessed ? kMostOfGuess : kMost, ratio = std::clamp(time / of(rows), 1 / bound, bound);
  nearest->time *= guessed ? ratio : std::pow(ratio, kTrust);
  if (guessed) --nearest->unseen;
  // A wider pass costs no less.
  for (auto other = points.begin(); other != nearest; ++other)
    other->time = std::min(other->time, nearest->time);
  for (auto other = nearest + 1; other != points.end(); ++other)
    other->time =
        std::max(guessed && ratio < 1 && other->unseen == kUnseen ? ratio * other->time : other->time,
                 (other - 1)->time);
}

int widest_exact(int largest) {
  return std::max(largest, std::min(3 * largest, 128));
}

std::vector<int> cost_widths(int largest) {
  std::vector<int> out;
  for (int rows = 1; rows < largest; rows *= 2) out.push_back(rows);
  out.push_back(largest);
  return out;
}

void DraftHistory::record(std::span<const float> all, int all_right, bool cut) {
  constexpr int kEnds = 2;
  std::vector<float> confidences;
  int right = 0;
  for (int i = 0; i < std::ssize(all); ++i) {
    if (all[static_cast<size_t>(i)] == kCertain) continue;
    confidences.push_back(all[static_cast<size_t>(i)]);
    right += i < all_right;
  }
  DVLM_ASSERT(confidences.size() < std::max<size_t>(evidence_.places.size(), 1));
  const double by_place = uncovered(ends(chances_by_place(static_cast<int>(confidences.size()) + 1)), kEnds);
  if (by_place > 0.01) add(uncovered(ends(chances(confidences)), kEnds) / by_place, evidence_.left_out);
  for (int i = 1; i <= std::ssize(confidences) && i <= right + (cut ? 0 : 1); ++i) {
    const double one = i <= right ? 1 : 0;
    add(one, evidence_.places[static_cast<size_t>(i)]);
    add(one, evidence_.all);
    add(one, evidence_.sure[bucket(confidences[static_cast<size_t>(i - 1)])]);
  }
}

double DraftHistory::chance_at(int draft) const {
  return believed(evidence_.places[static_cast<size_t>(draft)], believed(evidence_.all, prior_));
}

double DraftHistory::chance(float confidence) const {
  if (confidence == kCertain) return 1;
  return believed(evidence_.sure[bucket(confidence)], static_cast<double>(confidence));
}

std::vector<double> DraftHistory::chances_by_place(int block) const {
  std::vector<double> out;
  for (int i = 1; i < block; ++i) out.push_back(chance_at(i));
  return out;
}

std::vector<double> DraftHistory::chances(std::span<const float> confidences) const {
  std::vector<double> out;
  for (const float confidence : confidences) out.push_back(chance(confidence));
  return out;
}

double DraftHistory::tokens(int block) const {
  double tokens = 1, reached = 1;
  for (const double right : chances_by_place(block)) tokens += reached *= right;
  return tokens;
}

double DraftHistory::covered(int block, int count) const {
  return 1 - uncovered(ends(chances_by_place(block)), count) * believed(evidence_.left_out, 1);
}

std::vector<int> DraftHistory::likely_ends(std::span<const float> confidences, int count) const {
  std::vector<int> out = likeliest(ends(chances(confidences)), count);
  std::erase_if(out, [&](int place) {  // nothing ends before what is known
    return place <= std::ssize(confidences) && confidences[static_cast<size_t>(place - 1)] == kCertain;
  });
  return out;
}

BlockChooser::BlockChooser(PassCosts costs, int largest, const DraftEvidences& known, bool approximates)
    : costs_(std::move(costs)),
      largest_(std::max(1, largest)),
      approximates_(approximates),
      drafts_{DraftHistory(largest_, kPriorChance, known[0]), DraftHistory(largest_, kPriorChance, known[1]),
              DraftHistory(largest_, kPriorBranchChance, known[2])} {}

DraftEvidences BlockChooser::evidence() const {
  return {drafts_[0].evidence(), drafts_[1].evidence(), drafts_[2].evidence()};
}

double BlockChooser::rate(RoundPlan plan, int known) const {
  const int block = plan.block;
  if (block == 1) return (known + 1) / exact(known + 1);
  const DraftHistory& drafts = history(plan.source);
  if (plan.branches == 0) {
    const bool approximate = plan.source == DraftSource::approximate;
    const int drafting = known + block - 1;
    const double draft_time = approximate ? costs_.draft.of(drafting) : exact(drafting);
    return (known + drafts.tokens(block)) / (draft_time + exact(known + block));
  }
  // An end without a branch costs a pass that verifies one token and drafts.
  const double missed = 1 - drafts.covered(block, plan.branches);
  const double tokens = known + drafts.tokens(block) + missed;
  const int rows = known + block + plan.branches * (block - 1);
  return tokens / (exact(rows) + missed * exact(known + block));
}

RoundPlan BlockChooser::choose(int limit, int known) {
  constexpr int kFirst = 8;  // rows that cost little more than one where speculation pays
  if (costs_.exact.points.empty())
    return {.block = std::min({kFirst, largest_, limit}),
            .source = may_approximate() ? DraftSource::approximate : DraftSource::exact};
  const int largest = std::min(largest_, limit);
  RoundPlan best{1, 0, rate({}, known)}, best_draft, best_approximate;
  const auto consider = [&](int block, int branches, DraftSource source) {
    RoundPlan plan{block, branches, 0, source};
    plan.rate = rate(plan, known);
    if (plan.rate > best.rate) best = plan;
    if (plan.rate > best_draft.rate) best_draft = plan;
    if (source == DraftSource::approximate && plan.rate > best_approximate.rate) best_approximate = plan;
  };
  for (int block = 2; block <= largest;
       block = block < largest ? std::min(2 * block, largest) : largest + 1) {
    if (may_approximate()) consider(block, 0, DraftSource::approximate);
    consider(block, 0, DraftSource::exact);
    for (const int branches : kBranches) {
      if (branches <= block && (block + branches * (block - 1)) * sharing_ <= costs_.exact.most())
        consider(block, branches, DraftSource::branch);
    }
  }
  const auto try_again = [&](RoundPlan plan) {
    plan.rate = best.rate;
    return plan;
  };
  if (best.block == 1) return ++without_draft_ < kProbe ? best : try_again(best_draft);
  const bool may = best_approximate.block > 1 && best.source != DraftSource::approximate;
  return may && ++without_approximate_ >= kProbe ? try_again(best_approximate) : best;
}

int BlockChooser::worth_verifying(std::span<const float> confidences, const RoundPlan& plan,
                                  DraftSource source) const {
  if (plan.rate == 0) return 1 + static_cast<int>(confidences.size());  // nothing is known
  const DraftHistory& drafts = history(source);
  const int beside = plan.branches * (plan.block - 1);
  int best = 1, inputs = 1;
  double reached = 1, tokens = 1, most = tokens - plan.rate * exact(1 + beside);
  for (const float confidence : confidences) {
    reached *= drafts.chance(confidence);
    tokens += reached;
    const double gain = tokens - plan.rate * exact(++inputs + beside);
    if (gain > most) most = gain, best = inputs;
  }
  return best;
}

void BlockChooser::record(std::span<const float> confidences, int right, bool cut, DraftSource source) {
  if (!confidences.empty()) without_draft_ = 0;
  if (!confidences.empty() && source == DraftSource::approximate) without_approximate_ = 0;
  drafts_[static_cast<size_t>(source)].record(confidences, right, cut);
}

}  // namespace dvlm
