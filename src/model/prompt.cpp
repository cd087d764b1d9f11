#include "model/prompt.h"

#include <algorithm>

namespace dvlm {

Segment prompt_segment(const Prompt& prompt, Sequence& sequence, int first, int count) {
  const auto pads_before = [&](int end) {
    return std::lower_bound(prompt.pads.begin(), prompt.pads.end(), end) - prompt.pads.begin();
  };
  const auto at = static_cast<size_t>(first), size = static_cast<size_t>(count);
  const size_t width = prompt.pads.empty() ? 0 : prompt.features.size() / prompt.pads.size();
  const auto skipped = static_cast<size_t>(pads_before(first)),
             pads = static_cast<size_t>(pads_before(first + count)) - skipped;
  return {.sequence = &sequence,
          .tokens = std::span(prompt.tokens).subspan(at, size),
          .positions = std::span(prompt.rope.positions).subspan(at, size),
          .features = std::span(prompt.features).subspan(skipped * width, pads * width),
          .context = first,
          .keep = true,
          .wanted = {}};
}

std::vector<Position> text_positions(int first, int count, int delta) {
  std::vector<Position> out;
  out.reserve(static_cast<size_t>(count));
  for (int at = first + delta; at < first + delta + count; ++at) out.push_back({at, at, at});
  return out;
}

}  // namespace dvlm
