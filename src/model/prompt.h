// An encoded prompt as what enters passes.
#pragma once
#include <vector>

#include "model/model.h"

namespace dvlm {

struct Prompt {
  std::vector<TokenId> tokens;
  RopeIndex rope;
  // Rows that stand for the pads behind the part that a sequence already holds: [pads, hidden], and where
  // those pads are in `tokens`, ascending.
  std::vector<float> features;
  std::vector<int> pads;
  std::vector<TokenId> stop_tokens;
  // For models with block attention: where turns end (turn_ends(), text/answers.h); a turn enters one pass
  // whole.
  std::vector<int> turn_ends = {};
};

// Tokens [first, first + count) as a causal pass that keeps them; no row of it is wanted yet. `sequence`
// holds the first `first`. Views `prompt`.
Segment prompt_segment(const Prompt& prompt, Sequence& sequence, int first, int count);

// Positions of `count` tokens of text, of which the first is number `first` of its sequence.
std::vector<Position> text_positions(int first, int count, int delta = 0);

}  // namespace dvlm
