#include "text/answers.h"

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

std::vector<int> turn_ends(int tokens, std::span<const Span> answers, int block_size) {
  std::vector<int> ends;
  int last = 0;
  const auto end_turn = [&](int at) {
    if (at > last) ends.push_back(last = at);
  };
  for (const Span& answer : answers) {
    end_turn(answer.begin);
    while (last < answer.end) end_turn(std::min(last + block_size, answer.end));
  }
  end_turn(tokens);
  return ends;
}

}  // namespace dvlm
