#include "text/mask_token.h"

#include "core/log.h"

namespace dvlm {

std::optional<TokenId> mask_token(const Tokenizer& tokenizer, const ModelConfig& config) {
  constexpr TokenId kPublished = 151665;  // docs/reference.md, Mask token
  if (const auto added = tokenizer.find(kMaskToken)) return added;
  const bool converted = config.architecture.starts_with("Fast_d");  // Fast_dVLM and its successors
  if (!converted || kPublished >= config.text.vocab_size || !tokenizer.bytes_of(kPublished).empty())
    return {};
  log_warning_once("the tokenizer has no added token {}: the id {} of Fast-dVLM is taken for it", kMaskToken,
                   kPublished);
  return kPublished;
}

}  // namespace dvlm
