#include "decode/penalties.h"

#include <algorithm>

namespace dvlm {

Penalties::Penalties(const SamplingOptions& sampling, std::span<const TokenId> prompt)
    : repetition_(static_cast<float>(sampling.repetition_penalty)),
      presence_(static_cast<float>(sampling.presence_penalty)),
      frequency_(static_cast<float>(sampling.frequency_penalty)),
      any_(sampling.changes_logits()) {
  for (const auto& [token, bias] : sampling.logit_bias) entry(entries_, token).bias = bias;
  if (repetition_ == 1) return;
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  std::ranges::sort(tokens);
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const TokenId token : tokens) entry(entries_, token).seen = true;
}

Penalties::Entry& Penalties::entry(std::vector<Entry>& entries, TokenId token) {
  const auto at = std::ranges::lower_bound(entries, token, {}, &Entry::token);
  return at != entries.end() && at->token == token ? *at : *entries.insert(at, {.token = token});
}

void Penalties::add(TokenId token) {
  if (!any_) return;
  Entry& known = entry(entries_, token);
  known.seen = true;
  ++known.written;
}

std::vector<LogitChange> Penalties::behind(std::span<const TokenId> more) const {
  std::vector<Entry> entries = entries_;
  for (const TokenId token : more) {
    Entry& known = entry(entries, token);
    known.seen = true;
    ++known.written;
  }
  std::vector<LogitChange> out;
  out.reserve(entries.size());
  for (const Entry& one : entries)
    out.push_back(
        {.token = one.token,
         .add = one.bias,
         .divide = one.seen ? repetition_ : 1,
         .subtract = one.written > 0 ? presence_ + frequency_ * static_cast<float>(one.written) : 0});
  return out;
}

}  // namespace dvlm
