// Choosing a token from a row of logits.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "decode/decoder.h"

namespace dvlm {

// The lowest id among equals. Throws Error when the row holds a NaN or nothing above -infinity.
TokenId argmax(std::span<const float> logits);

// A chosen token and how sure the model is of it.
struct Choice {
  TokenId token = 0;
  float probability =
      0;  // greedy: softmax over the whole row; sampled: renormalised after temperature, top-k and top-p
};

// Ids that a draft must not choose: the mask token and the padding rows of the head. The default allows all.
struct Banned {
  TokenId token = -1;  // never chosen; -1 = none
  int limit = 0;       // ids at or above it are not chosen; 0 = all allowed
};

// Greedy, or temperature, then top-k, then top-p (the crossing token included), then the inverse CDF, walked
// from the most probable token down (the lower id first among equals), at the uniform number of (seed,
// stream, position): one seed gives one text whichever decoder asks. Throws Error for rows that argmax
// refuses.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) {}
  // `position`: absolute index of the chosen token in the sequence.
  TokenId pick(std::span<const float> logits, int64_t position, Banned banned = {});
  // The same with its probability; `stream` tells repeated draws for one position apart (pick uses stream 0).
  Choice choose(std::span<const float> logits, int64_t position, Banned banned, uint64_t stream);

 private:
  Choice draw(std::span<const float> logits, double u, Banned banned);
  SamplingOptions options_;
  std::vector<std::pair<float, TokenId>> heap_;
};

// softmax(logits)[id] in float. Throws Error for rows that argmax refuses.
float probability(std::span<const float> logits, TokenId id);

// log(softmax(logits)[id]) and the `top` most probable tokens, the lower id first among equals; logarithms
// are at least -9999. Throws Error for rows that argmax refuses.
TokenChance token_chance(std::span<const float> logits, TokenId id, int top);

}  // namespace dvlm
