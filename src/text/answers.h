// Which tokens of a conversation are answers (docs/reference.md, Blocks and turns).
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

// Where the turns of a prompt of `tokens` tokens end, the last one at its end: a turn is a block of
// `block_size` tokens of an answer, counted from the answer's start, or a stretch between answers. These are
// the turns of training (train/layout.h).
std::vector<int> turn_ends(int tokens, std::span<const Span> answers, int block_size);

}  // namespace dvlm
