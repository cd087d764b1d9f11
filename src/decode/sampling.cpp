#include "decode/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "kernels/elementwise.h"

namespace dvlm {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The maximum of a row. Lanes, because a plain maximum of floats does not vectorise and rows have 152 k
// entries.
float highest(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> best;
  std::array<int, kLanes> nan{};
  best.fill(kLowest);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      best[lane] = x > best[lane] ? x : best[lane];
      nan[lane] |= x != x;
    }
  }
  for (; i < logits.size(); ++i) {
    best[0] = std::max(best[0], logits[i]);
    nan[0] |= std::isnan(logits[i]);
  }
  if (std::any_of(nan.begin(), nan.end(), [](int bad) { return bad != 0; }))
    fail(
        "the model computed logits that are not numbers (NaN): its weights are damaged or overflow in this "
        "precision; try --precision f32, or copy the checkpoint again");
  return *std::max_element(best.begin(), best.end());
}

TokenId first_equal(std::span<const float> logits, float value) {
  return static_cast<TokenId>(std::find(logits.begin(), logits.end(), value) - logits.begin());
}

[[noreturn]] void fail_empty() {
  fail(
      "the model gives no token a finite chance (every logit is minus infinity): check the checkpoint with "
      "`dvlm inspect`");
}

std::span<const float> allowed(std::span<const float> logits, Banned banned) {
  const auto limit = static_cast<size_t>(std::max(banned.limit, 0));
  return limit == 0 || limit >= logits.size() ? logits : logits.first(limit);
}

TokenId greedy(std::span<const float> logits, Banned banned) {
  const auto row = allowed(logits, banned);
  const float best = highest(row);
  if (best == kLowest) fail_empty();
  const TokenId id = first_equal(row, best);
  if (id != banned.token) return id;
  // The mask is the model's favourite: the best of what stands before and behind it.
  const auto before = row.first(static_cast<size_t>(id)), after = row.subspan(static_cast<size_t>(id) + 1);
  const float best_before = highest(before), best_after = highest(after);
  if (std::max(best_before, best_after) == kLowest) fail_empty();
  return best_before >= best_after ? first_equal(before, best_before)
                                   : id + 1 + first_equal(after, best_after);
}

// A heap whose top is the most probable token, the lower id first among equals.
bool less_probable(const std::pair<float, TokenId>& a, const std::pair<float, TokenId>& b) {
  return a.first < b.first || (a.first == b.first && a.second > b.second);
}

}  // namespace

TokenId argmax(std::span<const float> logits) {
  return greedy(logits, {});
}

float probability(std::span<const float> logits, TokenId id) {
  DVLM_ASSERT(id >= 0 && static_cast<size_t>(id) < logits.size());
  const float best = highest(logits);
  if (best == kLowest) fail_empty();
  const float x = logits[static_cast<size_t>(id)];
  if (std::isinf(best)) {  // the limit: infinite logits share everything
    return x == best ? 1 / static_cast<float>(std::count(logits.begin(), logits.end(), best)) : 0;
  }
  return static_cast<float>(std::exp(static_cast<double>(x) - static_cast<double>(best)) /
                            exponential_sum(logits, best));
}

TokenChance token_chance(std::span<const float> logits, TokenId id, int top) {
  DVLM_ASSERT(id >= 0 && static_cast<size_t>(id) < logits.size());
  const float best = highest(logits);
  if (best == kLowest) fail_empty();
  double sum = 0;
  for (const float x : logits) sum += std::isinf(best) ? x == best : std::exp(double{x} - double{best});
  const auto logprob = [&](float x) {
    const double distance = x == best ? 0 : double{x} - double{best};
    return static_cast<float>(std::max(distance - std::log(sum), -9999.0));
  };
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto count = std::min(static_cast<size_t>(top), ids.size());
  const auto before = [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count), ids.end(), before);
  TokenChance chance{id, logprob(logits[static_cast<size_t>(id)]), {}};
  for (size_t i = 0; i < count; ++i)
    chance.top.emplace_back(ids[i], logprob(logits[static_cast<size_t>(ids[i])]));
  return chance;
}

TokenId Sampler::pick(std::span<const float> logits, int64_t position, Banned banned) {
  if (options_.temperature == 0) return greedy(logits, banned);
  return draw(logits, uniform(options_.seed, 0, static_cast<uint64_t>(position)), banned).token;
}

Choice Sampler::choose(std::span<const float> logits, int64_t position, Banned banned, uint64_t stream) {
  if (options_.temperature == 0) {
    const TokenId token = greedy(logits, banned);
    return {token, probability(logits, token)};
  }
  return draw(logits, uniform(options_.seed, stream, static_cast<uint64_t>(position)), banned);
}

Choice Sampler::draw(std::span<const float> logits, double u, Banned banned) {
  const auto row = allowed(logits, banned);
  highest(row);  // refuses NaN, which would break the order of the heap
  heap_.clear();
  for (size_t i = 0; i < row.size(); ++i)
    if (row[i] > kLowest && static_cast<TokenId>(i) != banned.token)
      heap_.emplace_back(row[i], static_cast<TokenId>(i));
  if (heap_.empty()) fail_empty();
  std::make_heap(heap_.begin(), heap_.end(), less_probable);

  // Tokens leave the heap in descending order and gather, in that order, at the back of heap_. Popping only
  // what is needed spares the sort of the whole vocabulary.
  const float best = heap_.front().first;
  const auto weight = [&](float x) {
    if (std::isinf(best)) return x == best ? 1.0 : 0.0;  // the limit: infinite logits share everything
    return std::exp((static_cast<double>(x) - static_cast<double>(best)) / options_.temperature);
  };
  const size_t candidates = heap_.size();
  size_t taken = 0;
  const auto take_next = [&] {
    std::pop_heap(heap_.begin(), heap_.end() - static_cast<ptrdiff_t>(taken), less_probable);
    return weight(heap_[candidates - ++taken].first);
  };
  const size_t kept =
      options_.top_k > 0 ? std::min(candidates, static_cast<size_t>(options_.top_k)) : candidates;
  double total = 0;
  if (kept < candidates) {
    while (taken < kept) total += take_next();
  } else {
    for (const auto& [logit, id] : heap_) total += weight(logit);
  }

  size_t nucleus = kept;
  if (options_.top_p < 1) {
    double mass = 0;
    nucleus = 0;
    while (nucleus < kept && (nucleus == 0 || mass < options_.top_p * total)) {
      mass += nucleus < taken ? weight(heap_[candidates - 1 - nucleus].first) : take_next();
      ++nucleus;
    }
    total = mass;
  }

  const double target = u * total;
  double below = 0;
  Choice choice;
  for (size_t i = 0; i < nucleus; ++i) {
    const double w = i < taken ? weight(heap_[candidates - 1 - i].first) : take_next();
    if (w <= 0) break;  // rounding left the target beyond the last token of any weight
    choice = {heap_[candidates - 1 - i].second, static_cast<float>(w / total)};
    below += w;
    if (below > target) break;
  }
  return choice;
}

}  // namespace dvlm
