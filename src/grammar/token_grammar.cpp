#include "grammar/token_grammar.h"

#include <algorithm>
#include <utility>

#include "core/utf8.h"

namespace dvlm {

namespace {

constexpr size_t kMaxForced = 256;  // bytes that are looked at to find one token
constexpr size_t kMaxKnown = 1024;  // states whose masks are kept, 19 KB each with 151,936 tokens

}  // namespace

TokenGrammar::TokenGrammar(Automaton automaton, const Vocabulary& vocabulary, const Tokenizer& tokenizer,
                           std::vector<TokenId> stops)
    : automaton_(std::move(automaton)),
      vocabulary_(vocabulary),
      tokenizer_(tokenizer),
      stops_(std::move(stops)) {}

int TokenGrammar::step(int state, TokenId token) {
  if (token < 0 || token >= vocabulary_.size() || vocabulary_.bytes_of(token).empty()) return kDead;
  return automaton_.step(state, vocabulary_.bytes_of(token));
}

std::vector<TokenId> TokenGrammar::possible_part(int state, TokenId token) {
  if (token < 0 || token >= vocabulary_.size()) return {};
  const std::string_view bytes = vocabulary_.bytes_of(token);
  size_t size = 0;
  while (size < bytes.size() && (state = automaton_.step(state, static_cast<uint8_t>(bytes[size]))) != kDead)
    ++size;
  if (size == bytes.size()) return {token};
  if (bytes.starts_with(token_mark(token))) return {};
  const std::string_view part = bytes.substr(0, complete_utf8_prefix(bytes.substr(0, size)));
  return tokenizer_.encode(part, ControlTokens::as_text);
}

TokenId TokenGrammar::only(int state) {
  if (const auto known = only_.find(state); known != only_.end()) return known->second;
  return only_[state] = find_only(state);
}

std::shared_ptr<const TokenMask> TokenGrammar::mask(int state) {
  if (const auto known = masks_.find(state); known != masks_.end()) return known->second;
  if (masks_.size() >= kMaxKnown) masks_.clear();
  ++masks_found_;
  return masks_[state] = std::make_shared<TokenMask>(find_mask(state));
}

TokenId TokenGrammar::find_only(int state) {
  worn_ = automaton_.worn();
  const std::vector<TokenId> run = forced(state);
  if (run.size() > 1) return run[0];
  if (automaton_.complete(state)) return -1;
  return vocabulary_.only(automaton_, state, run.empty() ? "" : vocabulary_.bytes_of(run[0]));
}

TokenMask TokenGrammar::find_mask(int state) {
  if (const TokenId token = only(state); token >= 0) {
    TokenMask mask((static_cast<size_t>(vocabulary_.size()) + 63) / 64);
    allow(mask, token);
    return mask;
  }
  const std::vector<TokenId> run = forced(state);
  TokenMask mask = vocabulary_.allowed(automaton_, state, run.empty() ? "" : vocabulary_.bytes_of(run[0]));
  if (!automaton_.complete(state)) return mask;
  for (const TokenId stop : stops_) {
    mask.resize(std::max(mask.size(), static_cast<size_t>(stop) / 64 + 1));
    allow(mask, stop);
  }
  return mask;
}

// What must follow, as the tokenizer writes it; nothing where it would not write it so. A token that is no
// text ends such a run: the last one before it cannot reach further.
std::vector<TokenId> TokenGrammar::forced(int state) {
  const std::string bytes = automaton_.forced(state, kMaxForced);
  const size_t mark = std::min(bytes.find('\xff'), bytes.size());
  const std::string_view text =
      std::string_view(bytes).substr(0, complete_utf8_prefix(std::string_view(bytes).substr(0, mark)));
  std::vector<TokenId> tokens = tokenizer_.encode(text, ControlTokens::as_text);
  std::string written;
  for (const TokenId token : tokens)
    if (token < vocabulary_.size()) written += vocabulary_.bytes_of(token);
  if (written != text) tokens.clear();  // it is not in NFC
  const TokenId next = marked_token(std::string_view(bytes).substr(mark));
  if (next >= 0 && text.size() == mark && written == text) tokens.push_back(next);
  return tokens;
}

}  // namespace dvlm
