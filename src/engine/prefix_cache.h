// Sequences of earlier answers, for prompts that begin alike.
#pragma once
#include <list>
#include <memory>

#include "engine/prompt.h"

namespace dvlm {

// A sequence and how many of its first tokens a prompt shares.
struct PrefixMatch {
  const Sequence* sequence = nullptr;
  int length = 0;
};

// Compares tokens themselves, and pictures by ContentKey: what one client sent is never taken for another's.
class PrefixCache {
 public:
  explicit PrefixCache(size_t most) : most_(most) {}  // entries

  // The entry that shares the longest prefix; it counts as used.
  PrefixMatch find(const PromptIdentity& identity);
  // `identity` says what `sequence` holds. Entries that are a prefix of it leave, then the least recently
  // used one when there are too many.
  void insert(PromptIdentity identity, std::unique_ptr<Sequence> sequence);
  bool drop_oldest();  // false: there is none
  void clear() { entries_.clear(); }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    PromptIdentity identity;
    std::unique_ptr<Sequence> sequence;
  };
  size_t most_;
  std::list<Entry> entries_;  // the most recently used first
};

}  // namespace dvlm
