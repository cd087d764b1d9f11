// What sampling options change in the logits of a row, by the tokens that stand before it. A row of a pass
// that verifies stands behind the drafts before it: what it chooses is what autoregressive decoding would.
#pragma once
#include <span>
#include <vector>

#include "decode/decoder.h"

namespace dvlm {

class Penalties {
 public:
  Penalties(const SamplingOptions& sampling, std::span<const TokenId> prompt);

  bool any() const { return any_; }
  void add(TokenId token);  // is text now
  // Of the row behind the text and then `more`, in ascending order of tokens.
  std::vector<LogitChange> behind(std::span<const TokenId> more = {}) const;

 private:
  struct Entry {
    TokenId token = 0;
    float bias = 0;
    bool seen = false;  // in the prompt or the text
    int written = 0;    // times in the text
  };
  static Entry& entry(std::vector<Entry>& entries, TokenId token);

  const float repetition_, presence_, frequency_;
  const bool any_;
  std::vector<Entry> entries_;  // in ascending order of tokens
};

}  // namespace dvlm
