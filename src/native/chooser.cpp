#include "native/chooser.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/parallel.h"
#include "model/choose.h"

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

void change(std::span<const LogitChange> changes, std::span<float> piece, int first) {
  const auto end = static_cast<TokenId>(first + std::ssize(piece));
  for (auto at = std::ranges::lower_bound(changes, first, {}, &LogitChange::token);
       at != changes.end() && at->token < end; ++at) {
    float& logit = piece[static_cast<size_t>(at->token - first)];
    logit = at->of(logit);
  }
}

// Tokens in the order of the walk: from the most probable down, the lower id first among equals. Whole
// buckets are passed over by their mass; the one in which something ends is sorted.
class Walk {
 public:
  Walk(std::span<const float> row, float best, double temperature) : row_(row) {
    buckets_.fill(row, best, temperature);
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  struct Place {
    int bucket = 0;
    size_t index = 0;      // in the sorted bucket, of the first token that is not passed
    double mass = 0;       // of what is passed
    TokenId last = -1;     // token passed that has a weight; -1 while it is in a bucket that was not sorted
    double last_mass = 0;  // its own
  };

  // Passes tokens until `enough(mass, tokens)` of those passed, or until `end`.
  template <class Enough>
  Place until(const Enough& enough, const Place* end) {
    Place at;
    size_t tokens = 0;
    for (; at.bucket < MassBuckets::kCount; ++at.bucket) {
      const auto b = static_cast<size_t>(at.bucket);
      const bool last = end && at.bucket == end->bucket;
      if (!last && !enough(at.mass + buckets_.mass[b], tokens + static_cast<size_t>(buckets_.count[b]))) {
        at.mass += buckets_.mass[b];
        tokens += static_cast<size_t>(buckets_.count[b]);
        if (buckets_.mass[b] > 0) at.last = -1, last_bucket_ = at.bucket;
        continue;
      }
      const std::vector<int32_t>& sorted = sort(at.bucket);
      const size_t size = last ? end->index : sorted.size();
      for (at.index = 0; at.index < size; ++at.index) {
        if (enough(at.mass, tokens)) return at;
        pass(at, sorted[at.index]);
        ++tokens;
      }
      if (last || enough(at.mass, tokens)) return at;
    }
    return at;
  }

  // Finds the token that `place` passed last.
  void find_last(Place& place) {
    if (place.last >= 0) return;
    for (const int32_t id : sort(last_bucket_)) pass(place, id);
  }

 private:
  void pass(Place& at, int32_t id) const {
    const double mass = buckets_.weight(row_[static_cast<size_t>(id)]);
    at.mass += mass;
    if (mass > 0) at.last = id, at.last_mass = mass;
  }

  const std::vector<int32_t>& sort(int bucket) {
    if (bucket == sorted_bucket_) return sorted_;
    sorted_bucket_ = bucket;
    buckets_.collect(row_, bucket, sorted_);
    const auto before = [&](int32_t a, int32_t b) {
      const float x = row_[static_cast<size_t>(a)], y = row_[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    };
    if (!std::is_sorted(sorted_.begin(), sorted_.end(), before))
      std::sort(sorted_.begin(), sorted_.end(), before);
    return sorted_;
  }

  // Kept by each thread, so that steady decoding allocates nothing.
  struct Scratch {
    MassBuckets buckets;
    std::vector<int32_t> sorted;
  };
  static Scratch& scratch() {
    thread_local Scratch own;
    return own;
  }

  std::span<const float> row_;
  MassBuckets& buckets_ = scratch().buckets;
  std::vector<int32_t>& sorted_ = scratch().sorted;  // of sorted_bucket_
  int sorted_bucket_ = -1, last_bucket_ = 0;         // last passed whole, with any weight
};

// Sets token and probability. `row`: -infinity where nothing may be chosen; `best`: its largest value, above
// -infinity. The same token as choose() gives, up to the rounding of sums.
void draw(std::span<const float> row, float best, const Wanted& wanted, Chosen& chosen) {
  if (std::isinf(best)) {  // infinite logits share everything
    Wanted changed = wanted;
    changed.changes = {};
    const Chosen reference = choose(row, changed);
    chosen.token = reference.token, chosen.probability = reference.probability;
    return;
  }
  Walk walk(row, best, wanted.temperature);
  Walk::Place end = walk.until(
      [&](double, size_t tokens) { return wanted.top_k > 0 && tokens >= static_cast<size_t>(wanted.top_k); },
      nullptr);
  if (wanted.top_p < 1) {
    const double enough = wanted.top_p * end.mass;
    const Walk::Place kept = end;
    end = walk.until([&](double mass, size_t tokens) { return tokens > 0 && mass >= enough; }, &kept);
  }
  const double target = wanted.u * end.mass;
  Walk::Place place = walk.until([&](double mass, size_t) { return mass > target; }, &end);
  walk.find_last(place);  // rounding may leave the target beyond the last token of any weight
  chosen.token = place.last;
  chosen.probability = static_cast<float>(place.last_mass / end.mass);
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
  change(wanted.changes, piece, first);
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
