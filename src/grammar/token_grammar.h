// A grammar as a decoder follows it: token by token.
#pragma once
#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar/vocabulary.h"

namespace dvlm {

// Shared by all answers that follow the same grammar; for one thread at a time. Whatever reads a state throws
// Error beyond the automaton's limits.
class TokenGrammar {
 public:
  // `stops`: tokens that end an answer, allowed where a text is complete. All must outlive this.
  TokenGrammar(Automaton automaton, const Vocabulary& vocabulary, const Tokenizer& tokenizer,
               std::vector<TokenId> stops);

  static constexpr int kStart = Automaton::kStart, kDead = Automaton::kDead;

  // The state behind one more token; kDead behind a stop token and what the grammar does not allow.
  int step(int state, TokenId token);
  // The text is complete and nothing can follow: the answer ends without a stop token.
  bool ended(int state) const { return automaton_.complete(state) && automaton_.following(state).none(); }

  // The tokens of the longest part of `token` that may follow; none when nothing of it may.
  std::vector<TokenId> possible_part(int state, TokenId token);

  // The token that must follow; -1 where several may, or the text may end. Where the grammar leaves one way
  // for some bytes, they are written as the tokenizer would: a model has learnt to write them so, and nobody
  // needs to ask it. The last token of such a run may reach into what follows.
  TokenId only(int state);
  // What may follow, held as long as the caller wants.
  std::shared_ptr<const TokenMask> mask(int state);
  size_t masks_found() const { return masks_found_; }  // not those that were known
  // From any thread: so many states were reached that further answers had better follow a new one.
  bool worn() const { return worn_; }

 private:
  TokenId find_only(int state);
  TokenMask find_mask(int state);
  std::vector<TokenId> forced(int state);

  Automaton automaton_;
  const Vocabulary& vocabulary_;
  const Tokenizer& tokenizer_;
  const std::vector<TokenId> stops_;
  std::unordered_map<int, TokenId> only_;
  std::unordered_map<int, std::shared_ptr<const TokenMask>> masks_;
  size_t masks_found_ = 0;
  std::atomic<bool> worn_ = false;
};

}  // namespace dvlm
