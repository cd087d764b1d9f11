// Where the keys and values of a planned pass stand.
#pragma once
#include "model/pass_plan.h"
#include "native/native_sequence.h"

namespace dvlm {

struct NativeSegment : PlannedSegment {
  NativeSequence* sequence = nullptr;
  // Keys that are not kept stand in scratch space: block 0 there is the sequence's block `cache_blocks`, and
  // begins with copies of the committed tokens of a partial block and of the parent's tokens.
  int cache_blocks = 0;
  int own_blocks = 0, first_own_block = 0;
};

struct NativePass {
  PassPlan plan;
  std::vector<NativeSegment> segments;
  int own_blocks = 0;

  // Plans the pass and gives kept tokens pages of their own. Throws Error as PassPlan does, and when memory
  // for a page is short; nothing has changed then.
  void prepare(std::span<const Segment> given, const void* owner, const ModelConfig& config);
};

}  // namespace dvlm
