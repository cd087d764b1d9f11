#include "native/chooser.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/parallel.h"
#include "model/choose.h"
#include "native/draw.h"

namespace dvlm {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
// Rough costs of one thread.
constexpr double kLookNanoseconds = 0.1, kDrawNanoseconds = 1.5;

bool restricted(const Wanted& wanted) {
  return wanted.excluded.token >= 0 || wanted.excluded.limit > 0 || !wanted.allowed.empty();
}

bool scored(const Wanted& wanted) {
  return wanted.alternatives >= 0 || (wanted.probability && wanted.choice == Choice::greedy);
}

void exclude(const Wanted& wanted, std::span<float> piece, int first) {
  const int ids = static_cast<int>(piece.size());
  const ExcludedTokens& excluded = wanted.excluded;
  if (excluded.token >= first && excluded.token < first + ids)
    piece[static_cast<size_t>(excluded.token - first)] = kLowest;
  if (excluded.limit > 0 && excluded.limit < first + ids)
    std::fill(piece.begin() + std::max(0, excluded.limit - first), piece.end(), kLowest);
  if (wanted.allowed.empty()) return;
  const auto count = static_cast<size_t>(ids);
  for (size_t i = 0; i < count; i += 64) {
    const size_t word = (static_cast<size_t>(first) + i) / 64;
    const uint64_t bits = word < wanted.allowed.size() ? wanted.allowed[word] : 0;
    if (bits == ~uint64_t{0}) continue;
    for (size_t bit = 0; bit < std::min<size_t>(64, count - i); ++bit)
      if ((bits >> bit & 1) == 0) piece[i + bit] = kLowest;
  }
}

}  // namespace

static_assert(Chooser::kPiece % kPanel == 0 && Chooser::kPiece % 64 == 0, "pieces begin panels and words");

bool Chooser::streams(std::span<const Wanted> wanted) {
  return std::all_of(wanted.begin(), wanted.end(),
                     [](const Wanted& w) { return w.choice == Choice::greedy; });
}

void Chooser::begin(std::span<const Wanted> wanted) {
  wanted_ = wanted;
  seen_.assign(wanted.size(), {.best = kLowest, .highest = kLowest, .top = {}});
  chosen_.assign(wanted.size(), {});
}

void Chooser::look(Rows logits, int first, int ids) {
  split_each(pool_, logits.count, kLookNanoseconds * ids, [&](int i) {
    look(wanted_[i], {logits.row(i), static_cast<size_t>(ids)}, first, seen_[i]);
  });
}

void Chooser::look(const Wanted& wanted, std::span<float> piece, int first, Seen& seen) {
  if (wanted.choice == Choice::logits) return;
  Peak peak = peak_of(piece);
  seen.nan |= peak.nan;
  if (seen.nan) return;
  if (scored(wanted)) add_up(piece, peak.highest, seen);
  if (wanted.alternatives > 0) add_top(wanted, piece, first, seen);
  if (restricted(wanted)) {
    exclude(wanted, piece, first);
    peak = peak_of(piece);
  }
  if (peak.highest <= seen.best) return;
  seen.best = peak.highest;
  seen.token =
      first + static_cast<TokenId>(std::find(piece.begin(), piece.end(), peak.highest) - piece.begin());
}

void Chooser::add_up(std::span<const float> piece, float highest, Seen& seen) {
  const float before = seen.highest;
  seen.highest = std::max(before, highest);
  if (seen.highest == kLowest) return;
  if (std::isinf(seen.highest)) {  // infinite logits share everything
    seen.sum = (std::isinf(before) && before > 0 ? seen.sum : 0) +
               static_cast<double>(std::count(piece.begin(), piece.end(), seen.highest));
    return;
  }
  seen.sum =
      seen.sum * std::exp(double{before} - double{seen.highest}) + exponential_sum(piece, seen.highest);
}

void Chooser::add_top(const Wanted& wanted, std::span<const float> piece, int first, Seen& seen) {
  const auto count = static_cast<size_t>(wanted.alternatives);
  const auto before = [](const auto& a, const auto& b) { return a.second > b.second; };
  for (size_t i = 0; i < piece.size(); ++i) {
    if (seen.top.size() == count && piece[i] <= seen.top.back().second) continue;
    const std::pair<TokenId, float> entry(first + static_cast<TokenId>(i), piece[i]);
    if (seen.top.size() == count) seen.top.pop_back();
    // Behind its equals: ids come in ascending order.
    seen.top.insert(std::upper_bound(seen.top.begin(), seen.top.end(), entry, before), entry);
  }
}

std::span<const Chosen> Chooser::finish(Rows logits, int vocab) {
  const size_t floats = logits.data ? static_cast<size_t>(vocab) : 0;
  split_each(pool_, static_cast<int>(wanted_.size()), streams(wanted_) ? 1.0 : kDrawNanoseconds * vocab,
             [&](int i) {
               answer(wanted_[i], {logits.row(i), floats}, seen_[i], chosen_[i]);
             });
  return chosen_;
}

void Chooser::answer(const Wanted& wanted, std::span<const float> row, const Seen& seen, Chosen& chosen) {
  if (wanted.choice == Choice::logits) {
    chosen.logits = row;
    return;
  }
  chosen.fault = seen.nan ? RowFault::nan : seen.best == kLowest ? RowFault::empty : RowFault::none;
  if (!chosen.valid()) return;
  chosen.token = seen.token;
  float logit = seen.best;
  if (wanted.choice == Choice::draw) {
    draw(row, seen.best, wanted, chosen);
    logit = row[static_cast<size_t>(chosen.token)];
  } else if (wanted.probability) {
    const double share = logit == seen.highest ? 1 : std::exp(double{logit} - double{seen.highest});
    chosen.probability = static_cast<float>(share / seen.sum);
  }
  if (wanted.alternatives < 0) return;
  chosen.logprob = log_softmax(logit, seen.highest, seen.sum);
  for (const auto& [id, x] : seen.top) chosen.top.emplace_back(id, log_softmax(x, seen.highest, seen.sum));
}

}  // namespace dvlm
