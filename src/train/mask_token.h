// Readies an autoregressive model's tokenizer for conversion.
#pragma once
#include <filesystem>

namespace dvlm {

// Adds the mask token (docs/reference.md, Mask token) to the tokenizer files of `folder` as a special token,
// at the first free id; does nothing where they have it. Throws Error when the embedding has no row left for
// it.
void ensure_mask_token(const std::filesystem::path& folder, int vocab_size);

}  // namespace dvlm
