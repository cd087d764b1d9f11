// The next segments of several decoders as one pass.
#pragma once
#include <span>
#include <vector>

#include "decode/decoder.h"

namespace dvlm {

class SharedPass {
 public:
  void clear();
  // Asks `decoder` for its next segments; of a prompt it may read `prefill_rows` tokens. Returns how many it
  // reads. What it gave must live until the pass is over.
  int add(Decoder& decoder, int prefill_rows);
  size_t size() const { return parts_.size(); }  // decoders

  std::span<const Segment> segments() const { return segments_; }
  // What the rows of the i-th decoder gave, among those of all segments.
  std::span<const Chosen> rows_of(size_t i, std::span<const Chosen> chosen) const {
    return chosen.subspan(parts_[i].first_row, parts_[i].rows);
  }
  // The i-th decoder's segments as a pass of their own.
  std::vector<Segment> alone(size_t i) const;

 private:
  struct Part {
    size_t first_segment, segments;
    size_t first_row, rows;  // wanted ones
  };
  std::vector<Segment> segments_;
  std::vector<Part> parts_;
};

}  // namespace dvlm
