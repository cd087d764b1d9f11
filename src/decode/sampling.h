// Choosing a token from a row of logits.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "decode/decoder.h"

namespace dvlm {

TokenId argmax(std::span<const float> logits);  // the lowest id among equals

// Greedy, or temperature, then top-k, then top-p (the crossing token included), then the inverse CDF at the uniform
// number of (seed, position): one seed gives one text whichever decoder asks.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) {}
  // `position`: absolute index of the chosen token in the sequence. `banned`: ids never chosen in drafts (mask), or -1;
  // ids at or above `limit` are not chosen (0 = all allowed).
  TokenId pick(std::span<const float> logits, int64_t position, TokenId banned = -1, int limit = 0);

 private:
  SamplingOptions options_;
  std::vector<std::pair<float, TokenId>> sorted_;
};

// softmax(logits)[id] in float.
float probability(std::span<const float> logits, TokenId id);

}  // namespace dvlm
