#include "grammar/token_grammar.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/utf8.h"

namespace dvlm {

namespace {

constexpr size_t kMostForced = 256;  // bytes that are looked at to find one token
constexpr size_t kMostKnown = 1024;  // states whose masks are kept, 19 KB each with 151,936 tokens

void allow(TokenMask& mask, TokenId id) {
  mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << id % 64;
}

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

std::shared_ptr<const TokenGrammar::Choices> TokenGrammar::choices(int state) {
  if (const auto known = known_.find(state); known != known_.end()) return known->second;
  if (known_.size() >= kMostKnown) known_.clear();
  worn_ = automaton_.worn();
  return known_[state] = std::make_shared<Choices>(find(state));
}

TokenGrammar::Choices TokenGrammar::find(int state) {
  Choices out;
  const std::vector<TokenId> run = forced(state);
  if (run.size() > 1) {
    out.only = run[0];
    out.mask.resize((static_cast<size_t>(vocabulary_.size()) + 63) / 64);
    allow(out.mask, out.only);
    return out;
  }
  out.mask = vocabulary_.allowed(automaton_, state, run.empty() ? "" : vocabulary_.bytes_of(run[0]));
  int count = 0;
  for (size_t i = 0; i < out.mask.size(); ++i) {
    if (out.mask[i] != 0) out.only = static_cast<TokenId>(i * 64) + std::countr_zero(out.mask[i]);
    count += std::popcount(out.mask[i]);
  }
  if (count > 1 || automaton_.complete(state)) out.only = -1;
  if (!automaton_.complete(state)) return out;
  for (const TokenId stop : stops_) {
    out.mask.resize(std::max(out.mask.size(), static_cast<size_t>(stop) / 64 + 1));
    allow(out.mask, stop);
  }
  return out;
}

// What must follow, as the tokenizer writes it; nothing where it would not write it so. A token that is no
// text ends such a run: the last one before it cannot reach further.
std::vector<TokenId> TokenGrammar::forced(int state) {
  const std::string bytes = automaton_.forced(state, kMostForced);
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
