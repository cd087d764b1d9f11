#include "engine/grammars.h"

#include <algorithm>

namespace dvlm {

Grammars::Grammars(const Tokenizer& tokenizer, int vocabulary, std::optional<TokenId> mask,
                   std::vector<TokenId> stops)
    : tokenizer_(tokenizer), size_(vocabulary), left_out_(mask.value_or(-1)), stops_(std::move(stops)) {}

std::shared_ptr<TokenGrammar> Grammars::find(const GrammarSource& source) {
  constexpr size_t kKept = 16;
  {
    const std::lock_guard lock(mutex_);
    if (!vocabulary_) vocabulary_.emplace(tokenizer_, size_, left_out_);
    std::erase_if(recent_, [](const auto& entry) { return entry.second->worn(); });
    const auto known = std::ranges::find(recent_, source, [](const auto& entry) { return entry.first; });
    if (known != recent_.end()) {
      recent_.splice(recent_.begin(), recent_, known);
      return known->second;
    }
  }
  // Reading takes its time, in which others go on.
  auto grammar = std::make_shared<TokenGrammar>(read_grammar(source), *vocabulary_, tokenizer_, stops_);
  const std::lock_guard lock(mutex_);
  recent_.emplace_front(source, grammar);
  if (recent_.size() > kKept) recent_.pop_back();
  return grammar;
}

}  // namespace dvlm
