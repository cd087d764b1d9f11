// Operators over rows of logits, which are as long as the vocabulary.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace dvlm {

struct Peak {
  float highest;  // -infinity for an empty row
  bool nan;       // whether any is; `highest` is that of the others
};
Peak peak_of(std::span<const float> x);

// The sum of exp(x - most) over all x, `most` being at least the largest and finite.
double exponential_sum(std::span<const float> x, float most);

// A histogram of a row by distance to its largest value, with the mass exp((x - best) / temperature) of each
// bucket: a draw finds its token by sorting one bucket instead of the vocabulary. Values of a bucket all lie
// above those of the next; the last also has everything further away.
struct MassBuckets {
  static constexpr int kCount = 4096;
  std::vector<double> mass;
  std::vector<int32_t> count;
  float best = 0, scale = 0;  // value x falls into bucket (best - x) * scale, rounded down
  double temperature = 1;

  // `best`: the largest of the row, finite; the row has no NaN.
  void fill(std::span<const float> x, float best, double temperature);
  double weight(float x) const;
  // The indices of bucket `bucket` whose values are above -infinity, in ascending order.
  void collect(std::span<const float> x, int bucket, std::vector<int32_t>& indices) const;
};

}  // namespace dvlm
