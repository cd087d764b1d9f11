// One pass, checked and laid out: which rows belong to which segment and where their keys go.
#pragma once
#include <span>
#include <vector>

#include "model/model.h"
#include "model/native_sequence.h"

namespace dvlm {

struct PlannedSegment {
  const Segment* segment = nullptr;
  NativeSequence* sequence = nullptr;
  int first_row = 0, rows = 0;
  // Keys that are not kept stand in scratch space: block 0 there is the sequence's block `cache_blocks`, and
  // begins with copies of the committed tokens of a partial block and of the parent's tokens.
  int cache_blocks = 0;
  int own_blocks = 0, first_own_block = 0;
  int own_position() const {
    return segment->context + segment->parent_tokens;
  }  // visible number of row 0's token
};

struct Pass {
  std::vector<PlannedSegment> segments;
  std::vector<int> logit_rows;  // rows of the pass
  int rows = 0, own_blocks = 0;
  bool approximate = false;  // every segment is, and keeps nothing

  // Throws Error naming the segment when it breaks a rule of model.h or asks for a token outside the
  // vocabulary.
  void plan(std::span<const Segment> segments, const void* owner, const ModelConfig& config);
};

}  // namespace dvlm
