// Which tokens of a conversation are answers, and how answers fall into blocks and turns
// (docs/reference.md, Blocks and turns).
#pragma once
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace dvlm {

// The control sequences around an answer, as this tokenizer spells them.
struct AnswerMarkers {
  std::vector<TokenId> header;  // "<|im_start|>assistant\n"
  TokenId end = 0;              // "<|im_end|>"
  TokenId newline = 0;          // "\n"
};
// Throws Error when the tokenizer lacks one of them.
AnswerMarkers answer_markers(const Tokenizer& tokenizer);

// Tokens [begin, end).
struct Span {
  int begin = 0, end = 0;
  int size() const { return end - begin; }
  bool operator==(const Span&) const = default;
};

// Answers left to right: from after the header through <|im_end|> and the newline behind it. An answer that
// the context cut off reaches to the end.
std::vector<Span> find_answers(std::span<const TokenId> ids, const AnswerMarkers& markers);

struct Layout {
  std::vector<int> block;  // -1 outside answers; blocks of all answers are numbered through
  std::vector<int> turn;   // increases by one wherever `block` changes
  int blocks = 0;
};

// Answers are cut into blocks of `block_size`, counted from their own start; the last block of an answer is
// shorter and never continues into the next one (auto-truncation). `first_block[s]` (1..block_size), when
// given, is the length of the s-th answer's first block instead.
Layout make_layout(int tokens, std::span<const Span> answers, int block_size,
                   std::span<const int> first_block = {});

}  // namespace dvlm
