#include "engine/prefix_cache.h"

#include <utility>

namespace dvlm {

PrefixMatch PrefixCache::find(const PromptIdentity& identity) {
  auto best = entries_.end();
  int length = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const int shared = common_prefix(entry->identity, identity);
    if (shared > length) best = entry, length = shared;
  }
  if (best == entries_.end()) return {};
  entries_.splice(entries_.begin(), entries_, best);
  return {best->sequence.get(), length};
}

void PrefixCache::insert(PromptIdentity identity, std::unique_ptr<Sequence> sequence) {
  entries_.remove_if([&](const Entry& entry) {
    return common_prefix(entry.identity, identity) == static_cast<int>(entry.identity.tokens.size());
  });
  entries_.push_front({std::move(identity), std::move(sequence)});
  while (entries_.size() > most_) entries_.pop_back();
}

bool PrefixCache::drop_oldest() {
  if (entries_.empty()) return false;
  entries_.pop_back();
  return true;
}

}  // namespace dvlm
