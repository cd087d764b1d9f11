#include "model/pass.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

namespace {

NativeSequence& sequence_of(const Segment& segment, size_t index, const void* owner) {
  auto* sequence = dynamic_cast<NativeSequence*>(segment.sequence);
  if (!sequence || sequence->owner() != owner) fail("segment {} belongs to no sequence of this model", index);
  return *sequence;
}

void check_tokens(const Segment& segment, size_t index, const ModelConfig& config) {
  int64_t pads = 0;
  for (TokenId token : segment.tokens) {
    if (token < 0 || token >= config.text.vocab_size) {
      fail("segment {}: token {} lies outside the vocabulary of {}", index, token, config.text.vocab_size);
    }
    pads += token == config.image_token || token == config.video_token;
  }
  if (segment.features.empty()) return;
  const int64_t values = static_cast<int64_t>(segment.features.size());
  if (values != pads * config.text.hidden_size) {
    fail("segment {}: {} image tokens expect {} feature values but got {}", index, pads,
         pads * config.text.hidden_size, values);
  }
}

void check_rows(const Segment& segment, size_t index) {
  if (segment.tokens.empty()) fail("segment {} has no tokens", index);
  if (segment.positions.size() != segment.tokens.size()) {
    fail("segment {}: {} tokens with {} positions", index, segment.tokens.size(), segment.positions.size());
  }
  int last = -1;
  for (int row : segment.logit_rows) {
    if (row <= last || row >= static_cast<int>(segment.tokens.size())) {
      fail("segment {}: logit rows must ascend inside its {} tokens; got {}", index, segment.tokens.size(),
           row);
    }
    last = row;
  }
}

void check_keys(std::span<const Segment> segments, size_t index, const NativeSequence& sequence) {
  const Segment& segment = segments[index];
  if (segment.context < 0 || segment.context > sequence.length()) {
    fail("segment {} sees {} committed tokens of a sequence of {}", index, segment.context,
         sequence.length());
  }
  if (segment.parent >= 0) {
    if (static_cast<size_t>(segment.parent) >= index)
      fail("segment {}: its parent must come before it", index);
    const Segment& parent = segments[segment.parent];
    if (parent.sequence != segment.sequence)
      fail("segment {}: its parent belongs to another sequence", index);
    if (segment.parent_tokens < 0 || segment.parent_tokens > static_cast<int>(parent.tokens.size())) {
      fail("segment {} sees {} tokens of a parent of {}", index, segment.parent_tokens, parent.tokens.size());
    }
  } else if (segment.parent_tokens != 0) {
    fail("segment {} sees {} tokens of no parent", index, segment.parent_tokens);
  }
  if (!segment.keep) return;
  if (segment.context != sequence.length() || segment.parent >= 0 ||
      segment.visibility != Visibility::causal) {
    fail("segment {} cannot be kept: it must be causal, without parent, and continue its sequence", index);
  }
  const int64_t length = int64_t{segment.context} + static_cast<int64_t>(segment.tokens.size());
  if (length > sequence.capacity()) {
    fail("the sequence is full: {} tokens were asked for but it has room for {}", length,
         sequence.capacity());
  }
  for (size_t i = 0; i < index; ++i) {
    if (segments[i].keep && segments[i].sequence == segment.sequence) {
      fail("segments {} and {} cannot both be kept by one sequence", i, index);
    }
  }
}

constexpr int64_t kMaxRows = int64_t{1} << 24;

}  // namespace

void Pass::plan(std::span<const Segment> given, const void* owner, const ModelConfig& config) {
  segments.clear();
  logit_rows.clear();
  rows = own_blocks = 0;
  approximate = !given.empty();
  for (size_t i = 0; i < given.size(); ++i) {
    const Segment& segment = given[i];
    NativeSequence& sequence = sequence_of(segment, i, owner);
    check_rows(segment, i);
    check_tokens(segment, i, config);
    check_keys(given, i, sequence);
    if (rows + static_cast<int64_t>(segment.tokens.size()) > kMaxRows)
      fail("a pass cannot hold {} rows", kMaxRows);

    approximate &= segment.approximate && !segment.keep;
    PlannedSegment planned{&segment, &sequence, rows, static_cast<int>(segment.tokens.size())};
    if (segment.keep) {
      planned.cache_blocks = blocks_for(segment.context + planned.rows);
    } else {
      planned.cache_blocks = segment.context / kKeys;
      planned.own_blocks = blocks_for(planned.own_position() + planned.rows) - planned.cache_blocks;
    }
    planned.first_own_block = own_blocks;
    own_blocks += planned.own_blocks;
    for (int row : segment.logit_rows) logit_rows.push_back(rows + row);
    rows += planned.rows;
    segments.push_back(planned);
  }
  for (const PlannedSegment& planned : segments)
    if (planned.segment->keep) planned.sequence->prepare(planned.segment->context + planned.rows);
}

}  // namespace dvlm
