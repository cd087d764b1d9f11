// How the answers of a conversation fall into blocks and turns (docs/reference.md, Blocks and turns).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "text/answers.h"

namespace dvlm {

struct Layout {
  std::vector<int> block;       // -1 outside blocks; blocks of all answers are numbered through
  std::vector<int> turn;        // increases by one wherever `block` changes
  std::vector<uint8_t> answer;  // 1 = a token to learn: it may be hidden, and is scored
  int blocks = 0;
};

// Answers are cut into blocks of `block_size`, counted from their own start; the last block of an answer is
// shorter and never continues into the next one (auto-truncation). `first_block[s]` (1..block_size), when
// given, is the length of the s-th answer's first block instead.
Layout make_layout(int tokens, std::span<const Span> answers, int block_size,
                   std::span<const int> first_block = {});

// Without auto-truncation: blocks are counted from the start of the first answer to the end of the sequence,
// across turns. The end of an answer then shares a block with the prompt behind it and what follows, so its
// noisy copy sees words that come after it; prompts are still neither hidden nor scored.
Layout make_untruncated_layout(int tokens, std::span<const Span> answers, int block_size);

}  // namespace dvlm
