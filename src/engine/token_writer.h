// Tokens as text, and the passes that wrote them as JSON.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

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

// [{"kind", "rows", "block": [text or null where masked], "accepted", "emitted", "forced": [indices in the
// block]}, ...]; without "forced" where there is none.
nlohmann::json passes_json(std::span<const PassRecord> passes, const TokenWriter& tokens);

}  // namespace dvlm
