// Byte-pair merges of one pre-token.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace dvlm {

struct Merge {
  TokenId left = 0, right = 0, result = 0;
};

// Immutable after construction, hence safe to share between threads.
class Bpe {
 public:
  // `merges` in order of rank. Throws Error when a pair appears twice.
  Bpe(const std::array<TokenId, 256>& byte_tokens, const std::vector<Merge>& merges);

  // Appends the tokens of `word`. O(n log n) in its length, which must be below 2^31.
  void encode(std::string_view word, std::vector<TokenId>& ids) const;

 private:
  struct Slot {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = ~uint32_t{0};  // no merge
    TokenId result = 0;
  };

  size_t locate(TokenId left,
                TokenId right) const;  // index of the pair's slot, or of the free one it would take
  const Slot& find(TokenId left, TokenId right) const { return slots_[locate(left, right)]; }
  void encode_short(std::string_view word, std::vector<TokenId>& ids) const;
  void encode_long(std::string_view word, std::vector<TokenId>& ids) const;

  std::array<TokenId, 256> byte_tokens_;
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
};

}  // namespace dvlm
