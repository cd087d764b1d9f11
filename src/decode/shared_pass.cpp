#include "decode/shared_pass.h"

#include <utility>

namespace dvlm {

void SharedPass::clear() {
  segments_.clear();
  parts_.clear();
}

int SharedPass::add(Decoder& decoder, int prefill_rows) {
  const bool prefill = !decoder.prefilled();
  const size_t first_row = parts_.empty() ? 0 : parts_.back().first_row + parts_.back().rows;
  Part part{segments_.size(), 0, first_row, 0};
  int read = 0;
  for (Segment segment : decoder.next(prefill_rows)) {
    if (segment.parent >= 0) segment.parent += static_cast<int>(part.first_segment);
    part.rows += segment.wanted.size();
    if (prefill) read += static_cast<int>(segment.tokens.size());
    segments_.push_back(std::move(segment));
  }
  part.segments = segments_.size() - part.first_segment;
  parts_.push_back(part);
  return read;
}

std::vector<Segment> SharedPass::alone(size_t i) const {
  const Part& part = parts_[i];
  const auto first = segments_.begin() + static_cast<ptrdiff_t>(part.first_segment);
  std::vector<Segment> own(first, first + static_cast<ptrdiff_t>(part.segments));
  for (Segment& segment : own)
    if (segment.parent >= 0) segment.parent -= static_cast<int>(part.first_segment);
  return own;
}

}  // namespace dvlm
