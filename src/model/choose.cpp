#include "model/choose.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Candidate {
  float logit;
  TokenId id;
  bool operator<(const Candidate& other) const {  // the order of the walk
    return logit > other.logit || (logit == other.logit && id < other.id);
  }
};

bool may_choose(const Wanted& wanted, TokenId id) {
  const ExcludedTokens& excluded = wanted.excluded;
  if (id == excluded.token || (excluded.limit > 0 && id >= excluded.limit)) return false;
  const auto at = static_cast<size_t>(id);
  return wanted.allowed.empty() ||
         (at / 64 < wanted.allowed.size() && (wanted.allowed[at / 64] >> (at % 64) & 1) != 0);
}

std::vector<Candidate> candidates(std::span<const float> row, const Wanted& wanted) {
  std::vector<Candidate> out;
  for (TokenId id = 0; id < std::ssize(row); ++id) {
    if (row[static_cast<size_t>(id)] > kLowest && may_choose(wanted, id))
      out.push_back({row[static_cast<size_t>(id)], id});
  }
  return out;
}

// Infinite logits share everything: the limit.
double weight(float logit, float best, double temperature) {
  if (std::isinf(best)) return logit == best ? 1.0 : 0.0;
  return std::exp((double{logit} - double{best}) / temperature);
}

// `sorted`: not empty.
void draw(std::vector<Candidate> sorted, const Wanted& wanted, Chosen& chosen) {
  std::sort(sorted.begin(), sorted.end());
  if (wanted.top_k > 0) sorted.resize(std::min(sorted.size(), static_cast<size_t>(wanted.top_k)));
  std::vector<double> weights;
  double total = 0;
  for (const Candidate& c : sorted) {
    weights.push_back(weight(c.logit, sorted[0].logit, wanted.temperature));
    total += weights.back();
  }
  if (wanted.top_p < 1) {
    double mass = 0;
    size_t kept = 0;
    while (kept < weights.size() && (kept == 0 || mass < wanted.top_p * total)) mass += weights[kept++];
    weights.resize(kept);
    total = mass;
  }
  double below = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) break;  // rounding left the target beyond the last token of any weight
    chosen.token = sorted[i].id;
    chosen.probability = static_cast<float>(weights[i] / total);
    below += weights[i];
    if (below > wanted.u * total) break;
  }
}

}  // namespace

float log_softmax(float logit, float best, double sum) {
  const double distance = logit == best ? 0 : double{logit} - double{best};
  return static_cast<float>(std::max(distance - std::log(sum), -9999.0));
}

Chosen choose(std::span<const float> given, const Wanted& wanted) {
  if (wanted.choice == Choice::logits) return {.logits = given};
  std::vector<float> row(given.begin(), given.end());
  for (const LogitChange& change : wanted.changes)
    if (change.token < std::ssize(row)) {
      float& logit = row[static_cast<size_t>(change.token)];
      logit = change.of(logit);
    }
  Chosen chosen;
  if (std::any_of(row.begin(), row.end(), [](float x) { return std::isnan(x); })) {
    chosen.fault = RowFault::nan;
    return chosen;
  }
  std::vector<Candidate> open = candidates(row, wanted);
  if (open.empty()) {
    chosen.fault = RowFault::empty;
    return chosen;
  }
  const float best = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += weight(x, best, 1);
  if (wanted.choice == Choice::draw) {
    draw(open, wanted, chosen);
  } else {
    chosen.token = std::min_element(open.begin(), open.end())->id;
    chosen.probability = static_cast<float>(weight(row[static_cast<size_t>(chosen.token)], best, 1) / sum);
  }
  if (wanted.alternatives < 0) return chosen;
  chosen.logprob = log_softmax(row[static_cast<size_t>(chosen.token)], best, sum);
  std::vector<Candidate> all;
  all.reserve(row.size());
  for (TokenId id = 0; id < std::ssize(row); ++id) all.push_back({row[static_cast<size_t>(id)], id});
  const auto count = std::min(static_cast<ptrdiff_t>(wanted.alternatives), std::ssize(all));
  std::partial_sort(all.begin(), all.begin() + count, all.end());
  for (ptrdiff_t i = 0; i < count; ++i)
    chosen.top.emplace_back(all[static_cast<size_t>(i)].id,
                            log_softmax(all[static_cast<size_t>(i)].logit, best, sum));
  return chosen;
}

void check_valid(const Chosen& chosen) {
  switch (chosen.fault) {
    case RowFault::none:
      return;
    case RowFault::nan:
      fail(
          "the model computed logits that are not numbers (NaN): its weights are damaged or overflow in this "
          "precision; try --precision f32, or copy the checkpoint again");
    case RowFault::empty:
      fail(
          "the model gives no token that may be chosen a finite chance (every logit is minus infinity): "
          "check the checkpoint with `dvlm inspect`");
  }
}

}  // namespace dvlm
