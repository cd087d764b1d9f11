#include "grammar/vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace dvlm {

Vocabulary::Vocabulary(const Tokenizer& tokenizer, int size, TokenId left_out)
    : bytes_(static_cast<size_t>(std::min(size, tokenizer.size()))) {
  constexpr size_t kMaxShared = std::numeric_limits<uint16_t>::max();
  for (TokenId id = 0; id < this->size(); ++id) bytes_[static_cast<size_t>(id)] = tokenizer.bytes_of(id);
  for (const AddedToken& added : tokenizer.added_tokens())
    if (added.id < this->size())
      bytes_[static_cast<size_t>(added.id)] = marks_.emplace_back(token_mark(added.id));
  if (left_out >= 0 && left_out < this->size()) bytes_[static_cast<size_t>(left_out)] = {};
  std::vector<std::pair<std::string_view, TokenId>> tokens;
  for (TokenId id = 0; id < this->size(); ++id)
    if (!bytes_of(id).empty() && bytes_of(id).size() <= kMaxShared) tokens.emplace_back(bytes_of(id), id);
  std::sort(tokens.begin(), tokens.end());
  std::string_view before;
  for (const auto& [bytes, id] : tokens) {
    const auto differ = std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end());
    shared_.push_back(static_cast<uint16_t>(differ.first - bytes.begin()));
    sorted_.push_back(id);
    before = bytes;
  }
}

// In the order of their bytes, until `visit` says false.
template <class Visit>
void Vocabulary::each_allowed(Automaton& automaton, int state, std::string_view prefix,
                              const Visit& visit) const {
  std::vector<int> states = {state};  // [n]: behind n bytes of the token
  const auto first = std::ranges::lower_bound(sorted_, prefix, {}, [&](TokenId id) { return bytes_of(id); });
  const auto begin = static_cast<size_t>(first - sorted_.begin());
  for (size_t i = begin; i < sorted_.size();) {
    const TokenId id = sorted_[i];
    const std::string_view bytes = bytes_of(id);
    if (!bytes.starts_with(prefix)) break;
    states.resize(i > begin ? shared_[i] + size_t{1} : 1);
    while (states.size() <= bytes.size() && states.back() != Automaton::kDead)
      states.push_back(automaton.step(states.back(), static_cast<uint8_t>(bytes[states.size() - 1])));
    ++i;
    if (states.back() != Automaton::kDead) {
      if (!visit(id)) return;
      continue;
    }
    const size_t dead = states.size() - 1;  // bytes that nothing can complete, whatever follows
    while (i < sorted_.size() && shared_[i] >= dead) ++i;
  }
}

TokenMask Vocabulary::allowed(Automaton& automaton, int state, std::string_view prefix) const {
  TokenMask mask((bytes_.size() + 63) / 64);
  each_allowed(automaton, state, prefix, [&](TokenId id) {
    allow(mask, id);
    return true;
  });
  return mask;
}

TokenId Vocabulary::only(Automaton& automaton, int state, std::string_view prefix) const {
  TokenId only = -1;
  int found = 0;
  each_allowed(automaton, state, prefix, [&](TokenId id) {
    only = id;
    return ++found < 2;
  });
  return found == 1 ? only : -1;
}

}  // namespace dvlm
