// Tokens, their probabilities and the passes that wrote them, as JSON.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>

#include "decode/decoder.h"
#include "text/tokenizer.h"

namespace dvlm {

// Names tokens by a tokenizer, which must outlive it.
class TokenWriter {
 public:
  TokenWriter(const Tokenizer& tokenizer, std::optional<TokenId> mask);  // see mask_token()
  std::string text(TokenId id) const;                                    // invalid UTF-8 replaced
  std::vector<int> bytes(TokenId id) const;
  bool masked(TokenId id) const { return id == mask_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  const Tokenizer* tokenizer_;
  TokenId mask_;
};

// OpenAI's chat: {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}], "refusal": null}.
nlohmann::json chat_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens);

// OpenAI's completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}. `offset`: characters
// before the first token, moved behind the last.
nlohmann::json completion_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens,
                                   int64_t& offset);

// SGLang's: [[logprob, id, text or null], ...], and for each token a list of the same for the likeliest.
nlohmann::json sglang_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens, bool texts);
nlohmann::json sglang_top_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens,
                                   bool texts);

// [{"kind", "rows", "block": [text or null where masked], "accepted", "emitted"}, ...].
nlohmann::json passes_json(std::span<const PassRecord> passes, const TokenWriter& tokens);

}  // namespace dvlm
