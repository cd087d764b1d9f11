// One pass, checked and laid out in rows. It knows no device.
#pragma once
#include <span>
#include <vector>

#include "model/model.h"

namespace dvlm {

struct PlannedSegment {
  const Segment* segment = nullptr;
  int first_row = 0, rows = 0;
  // The visible number of row 0's token: tokens before it that it sees.
  int own_position() const { return segment->context + segment->parent_tokens; }
};

struct PassPlan {
  std::vector<PlannedSegment> segments;
  std::vector<Wanted> wanted;  // their `row` is that of the pass
  int rows = 0;
  bool approximate = false;  // every segment is, and keeps nothing

  // Throws Error naming the segment when it breaks a rule of model.h or asks for a token outside the
  // vocabulary; sequences must be `owner`'s.
  void plan(std::span<const Segment> segments, const void* owner, const ModelConfig& config);
  // Calls what segments want called before_choice, and reads what their rows may choose since then.
  void ask_choices();
};

}  // namespace dvlm
