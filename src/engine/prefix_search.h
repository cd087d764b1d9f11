// Sequences for prompts that begin like others.
#pragma once
#include <list>
#include <memory>
#include <vector>

#include "engine/generation.h"

namespace dvlm {

// Finds how much of a prompt is held, by earlier answers that are kept or by answers under way. Compares
// tokens themselves, and images by ContentKey: what one client sent is never taken for another's.
class PrefixSearch {
 public:
  PrefixSearch(Model& model, size_t max_kept) : model_(model), max_kept_(max_kept) {}

  // Whether an answer under way is about to compute much more of the prompt than is held.
  bool worth_waiting(const PromptIdentity& identity);
  // A sequence with the longest prefix there is and room for `capacity` tokens; the answers that were used
  // least recently leave where memory is short. Null: there is no memory while other answers hold it.
  // Throws Error when there can never be.
  std::unique_ptr<Sequence> sequence_for(const PromptIdentity& identity, int capacity);

  void add(const Generation& generation) { running_.push_back(&generation); }  // it has a sequence
  void remove(const Generation& generation) { std::erase(running_, &generation); }
  // Keeps a sequence that holds what `identity` says, unless the model's attention lets none of it be shared.
  // Entries that are a prefix of it leave.
  void keep(PromptIdentity identity, std::unique_ptr<Sequence> sequence);
  void clear() { kept_.clear(); }
  size_t kept() const { return kept_.size(); }

 private:
  struct Match {
    const Sequence* sequence = nullptr;
    int length = 0;  // so many of its first tokens are the prompt's
  };
  struct Entry {
    PromptIdentity identity;
    std::unique_ptr<Sequence> sequence;
  };
  Match longest(const PromptIdentity& identity);
  int common(const PromptIdentity& a, const PromptIdentity& b) const;

  Model& model_;
  const size_t max_kept_;
  std::list<Entry> kept_;  // the most recently used first
  std::vector<const Generation*> running_;
};

}  // namespace dvlm
