// The tokenizer files of a model folder, validated.
#pragma once
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "core/types.h"
#include "text/bpe.h"
#include "text/tokenizer.h"

namespace dvlm {

struct AddedTokenRule {
  AddedToken token;
  bool normalized = false;  // looked for in the normalised text, after the others
  bool lstrip = false;      // swallows the white space before it
  bool rstrip = false;      // and after it
};

struct TokenizerFiles {
  std::vector<std::string> bytes;            // of each id; "" where no token has the id
  std::array<TokenId, 256> byte_tokens{};    // the token of each single byte
  std::vector<Merge> merges;                 // in order of rank; none yields an added token
  std::vector<AddedTokenRule> added_tokens;  // sorted by id
};

// Reads tokenizer.json, or vocab.json and merges.txt when it is absent, and the added tokens that only
// tokenizer_config.json or added_tokens.json name. Throws Error naming the file when something is not as
// Qwen2 has it.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace dvlm
