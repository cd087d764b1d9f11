// Which token stands for what is not yet written.
#pragma once
#include <optional>

#include "checkpoint/config.h"
#include "text/tokenizer.h"

namespace dvlm {

// The id of the added token kMaskToken. Some converted checkpoints come with the tokenizer of before, which
// cuts its text into pieces: then the published id, with a warning, where the architecture is Fast-dVLM's,
// the embedding has that row and no other token that id. Nothing otherwise: autoregressive decoding only.
std::optional<TokenId> mask_token(const Tokenizer& tokenizer, const ModelConfig& config);

}  // namespace dvlm
