#include "measure/dictated_model.h"

namespace dvlm {

std::span<const Chosen> DictatedModel::forward(std::span<const Segment> segments) {
  const auto chosen = model_.forward(segments);
  chosen_.assign(chosen.begin(), chosen.end());
  auto row = chosen_.begin();
  for (const Segment& segment : segments) {
    const int next = segment.context + segment.parent_tokens + 1 - prompt_;  // place of what row 0 predicts
    for (const Wanted& wanted : segment.wanted) {
      const int place = next + wanted.row;
      if (segment.visibility == Visibility::causal && place >= 0 && place < std::ssize(text_))
        row->token = text_[static_cast<size_t>(place)];
      ++row;
    }
  }
  return chosen_;
}

}  // namespace dvlm
