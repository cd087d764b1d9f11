#include "native/draw.h"

#include <algorithm>
#include <cmath>

#include "kernels/vocabulary.h"
#include "model/choose.h"

namespace dvlm {

namespace {

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

}  // namespace

void draw(std::span<const float> row, float best, const Wanted& wanted, Chosen& chosen) {
  if (std::isinf(best)) {  // infinite logits share everything
    const Chosen reference = choose(row, wanted);
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

}  // namespace dvlm
