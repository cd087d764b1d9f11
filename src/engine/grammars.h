// The grammars that answers follow, made once for each text of them.
#pragma once
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "grammar/source.h"
#include "grammar/token_grammar.h"

namespace dvlm {

class Grammars {
 public:
  // Tokens as Vocabulary's and TokenGrammar's, whose `tokenizer` must outlive the grammars.
  Grammars(const Tokenizer& tokenizer, int vocabulary, std::optional<TokenId> mask,
           std::vector<TokenId> stops);

  // From any thread; what it gives, from one at a time. Throws Error as read_grammar.
  std::shared_ptr<TokenGrammar> find(const GrammarSource& source);

 private:
  const Tokenizer& tokenizer_;
  const int size_;
  const TokenId left_out_;
  const std::vector<TokenId> stops_;
  std::mutex mutex_;
  std::optional<Vocabulary> vocabulary_;  // once somebody asks
  std::list<std::pair<GrammarSource, std::shared_ptr<TokenGrammar>>> recent_;
};

}  // namespace dvlm
