#include "engine/prefix_search.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr int kWorthWaiting = 64;  // tokens of a prefix that another answer is about to compute

// The last token of a prompt is never taken from elsewhere: its logits are wanted.
int shared_tokens(int common, const PromptIdentity& identity) {
  return std::min(common, static_cast<int>(identity.tokens.size()) - 1);
}

}  // namespace

// With block attention K/V depend on what follows in the same turn: prompts that only begin alike share
// nothing.
int PrefixSearch::common(const PromptIdentity& a, const PromptIdentity& b) const {
  return model_.config().clean_attention == CleanAttention::block ? 0 : common_prefix(a, b);
}

PrefixSearch::Match PrefixSearch::longest(const PromptIdentity& identity) {
  Match best;
  auto used = kept_.end();
  for (auto entry = kept_.begin(); entry != kept_.end(); ++entry)
    if (const int shared = common(entry->identity, identity); shared > best.length)
      best = {entry->sequence.get(), shared}, used = entry;
  if (used != kept_.end()) kept_.splice(kept_.begin(), kept_, used);
  for (const Generation* other : running_) {
    const int held = std::min(common(other->identity(), identity), other->sequence()->length());
    if (held > best.length) best = {other->sequence(), held};
  }
  best.length = shared_tokens(best.length, identity);
  return best;
}

bool PrefixSearch::worth_waiting(const PromptIdentity& identity) {
  const int held = longest(identity).length;
  return std::any_of(running_.begin(), running_.end(), [&](const Generation* other) {
    const bool reads =
        other->phase() == Generation::Phase::encoding || other->phase() == Generation::Phase::prefill;
    return reads && shared_tokens(common(other->identity(), identity), identity) >= held + kWorthWaiting;
  });
}

std::unique_ptr<Sequence> PrefixSearch::sequence_for(const PromptIdentity& identity, int capacity) {
  for (;;) {
    const Match match = longest(identity);
    std::string problem;
    try {
      if (match.length == 0) return model_.new_sequence(capacity);
      auto sequence = match.sequence->fork(match.length);
      if (sequence->reserve(capacity)) return sequence;
    } catch (const Error& error) {
      problem = error.what();
    }
    if (!kept_.empty()) {
      kept_.pop_back();
      continue;
    }
    if (!running_.empty()) return nullptr;
    fail("{}; lower --max-tokens or --max-pixels, or shorten the prompt", problem);
  }
}

void PrefixSearch::keep(PromptIdentity identity, std::unique_ptr<Sequence> sequence) {
  if (model_.config().clean_attention == CleanAttention::block) return;
  kept_.remove_if([&](const Entry& entry) {
    return common_prefix(entry.identity, identity) == static_cast<int>(entry.identity.tokens.size());
  });
  kept_.push_front({std::move(identity), std::move(sequence)});
  while (kept_.size() > max_kept_) kept_.pop_back();
}

}  // namespace dvlm
