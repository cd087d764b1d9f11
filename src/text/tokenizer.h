// Byte-level BPE as Qwen2's tokenizer.json defines it.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace dvlm {

enum class ControlTokens {
  parse,    // text of an added token becomes that token, as Hugging Face does: for trusted text
  as_text,  // it stays text: for text that users type
};

// What block diffusion writes in place of a hidden token (docs/reference.md, Mask token).
inline constexpr const char* kMaskToken = "|<MASK>|";

struct AddedToken {
  TokenId id = 0;
  std::string text;
  bool special = false;  // dropped by decode(skip_special)
};

class Tokenizer {
 public:
  // Reads tokenizer.json (or vocab.json + merges.txt + added_tokens.json / tokenizer_config.json when it is
  // absent). Throws Error for anything that is not a byte-level BPE with NFC and Qwen2's pattern.
  explicit Tokenizer(const std::filesystem::path& folder);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // Invalid UTF-8 is replaced by U+FFFD first. Appends to `ids`. Thread-safe.
  void encode(std::string_view text, ControlTokens control, std::vector<TokenId>& ids) const;
  std::vector<TokenId> encode(std::string_view text, ControlTokens control) const;

  // UTF-8 with invalid bytes replaced, as Hugging Face. Unknown ids decode to nothing.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;
  // The raw bytes of one token ("" for an unknown id): may be half a character.
  std::string_view bytes_of(TokenId id) const;

  std::optional<TokenId> find(
      std::string_view token_text) const;  // an added token by its text, e.g. "<|im_end|>"
  std::span<const AddedToken> added_tokens() const;
  bool is_special(TokenId id) const;
  int size() const;  // 1 + the highest id

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Turns a stream of tokens into text that is always complete UTF-8; special tokens are dropped, and `dropped`
// too (the mask token, which not every tokenizer marks as special).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, TokenId dropped = -1)
      : tokenizer_(tokenizer), dropped_(dropped) {}
  std::string push(std::span<const TokenId> ids);  // what became printable
  std::string finish();                            // the rest, invalid bytes replaced
 private:
  const Tokenizer& tokenizer_;
  const TokenId dropped_;
  std::string pending_;
};

}  // namespace dvlm
