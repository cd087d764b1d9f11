#include "train/layout.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

AnswerMarkers answer_markers(const Tokenizer& tokenizer) {
  AnswerMarkers markers;
  const auto start = tokenizer.find("<|im_start|>"), end = tokenizer.find("<|im_end|>");
  if (!start || !end)
    fail("the tokenizer lacks <|im_start|> or <|im_end|>, which training needs to find answers");
  markers.header.push_back(*start);
  tokenizer.encode("assistant\n", ControlTokens::as_text, markers.header);
  markers.end = *end;
  const std::vector<TokenId> newline = tokenizer.encode("\n", ControlTokens::as_text);
  if (newline.size() != 1) fail("the tokenizer does not spell a newline as one token");
  markers.newline = newline[0];
  return markers;
}

std::vector<Span> find_answers(std::span<const TokenId> ids, const AnswerMarkers& markers) {
  std::vector<Span> answers;
  auto at = ids.begin();
  while (true) {
    at = std::search(at, ids.end(), markers.header.begin(), markers.header.end());
    if (at == ids.end()) return answers;
    const auto begin = at + static_cast<std::ptrdiff_t>(markers.header.size());
    auto end = std::find(begin, ids.end(), markers.end);
    if (end != ids.end()) ++end;
    if (end != ids.end() && *end == markers.newline) ++end;
    if (begin != end)
      answers.push_back({static_cast<int>(begin - ids.begin()), static_cast<int>(end - ids.begin())});
    at = end;
  }
}

Layout make_layout(int tokens, std::span<const Span> answers, int block_size,
                   std::span<const int> first_block) {
  Layout layout;
  layout.block.assign(static_cast<size_t>(tokens), -1);
  layout.turn.assign(static_cast<size_t>(tokens), 0);
  for (size_t s = 0; s < answers.size(); ++s) {
    const int shift = first_block.empty() ? 0 : block_size - first_block[s];
    for (int i = 0; i < answers[s].size(); ++i)
      layout.block[static_cast<size_t>(answers[s].begin) + static_cast<size_t>(i)] =
          layout.blocks + (i + shift) / block_size;
    layout.blocks += (answers[s].size() + shift + block_size - 1) / block_size;
  }
  for (size_t i = 1; i < layout.turn.size(); ++i)
    layout.turn[i] = layout.turn[i - 1] + (layout.block[i] != layout.block[i - 1] ? 1 : 0);
  return layout;
}

}  // namespace dvlm
