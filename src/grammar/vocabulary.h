// The tokens that text is made of, in the order of their bytes: what a grammar allows is found in one walk.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/automaton.h"
#include "text/tokenizer.h"

namespace dvlm {

// Bit id % 64 of word id / 64.
using TokenMask = std::vector<uint64_t>;
inline void allow(TokenMask& mask, TokenId id) {
  mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << id % 64;
}

class Vocabulary {
 public:
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  // Ids below `size` but `left_out` (the mask token; -1: none). Added tokens are no text, whatever they are
  // called: they stand for their token_mark(). The tokenizer must outlive this.
  Vocabulary(const Tokenizer& tokenizer, int size, TokenId left_out);

  // The tokens that begin with `prefix` and behind which a text of the grammar can go on or end. Throws Error
  // as the automaton does.
  TokenMask allowed(Automaton& automaton, int state, std::string_view prefix) const;
  // The only such token; -1 where there are none or several: it ends at the second.
  TokenId only(Automaton& automaton, int state, std::string_view prefix) const;
  // Of token `id`; "" for one that is not here.
  std::string_view bytes_of(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }
  int size() const { return static_cast<int>(bytes_.size()); }

 private:
  template <class Visit>
  void each_allowed(Automaton& automaton, int state, std::string_view prefix, const Visit& visit) const;

  std::deque<std::string> marks_;
  std::vector<std::string_view> bytes_;  // by id
  std::vector<TokenId> sorted_;
  std::vector<uint16_t> shared_;  // bytes that a token of sorted_ shares with the one before it
};

}  // namespace dvlm
