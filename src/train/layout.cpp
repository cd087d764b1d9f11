#include "train/layout.h"

#include <algorithm>

namespace dvlm {

namespace {

Layout no_blocks(int tokens, std::span<const Span> answers) {
  Layout layout;
  layout.block.assign(static_cast<size_t>(tokens), -1);
  layout.turn.assign(static_cast<size_t>(tokens), 0);
  layout.answer.assign(static_cast<size_t>(tokens), 0);
  for (const Span& answer : answers)
    std::fill(layout.answer.begin() + answer.begin, layout.answer.begin() + answer.end, 1);
  return layout;
}

void number_turns(Layout& layout) {
  for (size_t i = 1; i < layout.turn.size(); ++i)
    layout.turn[i] = layout.turn[i - 1] + (layout.block[i] != layout.block[i - 1] ? 1 : 0);
}

}  // namespace

Layout make_layout(int tokens, std::span<const Span> answers, int block_size,
                   std::span<const int> first_block) {
  Layout layout = no_blocks(tokens, answers);
  for (size_t s = 0; s < answers.size(); ++s) {
    const int shift = first_block.empty() ? 0 : block_size - first_block[s];
    for (int i = 0; i < answers[s].size(); ++i)
      layout.block[static_cast<size_t>(answers[s].begin) + static_cast<size_t>(i)] =
          layout.blocks + (i + shift) / block_size;
    layout.blocks += (answers[s].size() + shift + block_size - 1) / block_size;
  }
  number_turns(layout);
  return layout;
}

Layout make_untruncated_layout(int tokens, std::span<const Span> answers, int block_size) {
  Layout layout = no_blocks(tokens, answers);
  const int first = answers.empty() ? tokens : answers[0].begin;
  for (int i = first; i < tokens; ++i) layout.block[static_cast<size_t>(i)] = (i - first) / block_size;
  layout.blocks = (tokens - first + block_size - 1) / block_size;
  number_turns(layout);
  return layout;
}

}  // namespace dvlm
