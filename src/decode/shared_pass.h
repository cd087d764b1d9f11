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
  // The rows of the i-th decoder in the logits of all segments.
  Logits rows_of(size_t i, const Logits& logits) const;
  // The i-th decoder's segments as a pass of their own.
  std::vector<Segment> alone(size_t i) const;

 private:
  struct Part {
    size_t first_segment, segments;
    int first_row, rows;  // of logits
  };
  std::vector<Segment> segments_;
  std::vector<Part> parts_;
};

}  // namespace dvlm
