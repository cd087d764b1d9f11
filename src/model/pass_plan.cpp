#include "model/pass_plan.h"

#include "core/error.h"

namespace dvlm {

namespace {

void check_tokens(const Segment& segment, size_t index, const ModelConfig& config) {
  int64_t pads = 0;
  for (TokenId token : segment.tokens) {
    if (token < 0 || token >= config.text.vocab_size) {
      fail("segment {}: token {} lies outside the vocabulary of {}", index, token, config.text.vocab_size);
    }
    pads += config.is_pad(token);
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
  for (const Wanted& wanted : segment.wanted) {
    if (wanted.row <= last || wanted.row >= static_cast<int>(segment.tokens.size())) {
      fail("segment {}: wanted rows must ascend inside its {} tokens; got {}", index, segment.tokens.size(),
           wanted.row);
    }
    last = wanted.row;
    if (wanted.choice == Choice::draw &&
        !(wanted.temperature > 0 && wanted.top_k >= 0 && wanted.top_p > 0 && wanted.u >= 0 && wanted.u < 1)) {
      fail("segment {}: a draw needs a temperature and top_p above 0 and a number in [0, 1)", index);
    }
  }
}

void check_context(std::span<const Segment> segments, size_t index, const void* owner,
                   CleanAttention attention) {
  const Segment& segment = segments[index];
  if (!segment.sequence || segment.sequence->owner() != owner)
    fail("segment {} belongs to no sequence of this model", index);
  const Sequence& sequence = *segment.sequence;
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
      (segment.visibility != Visibility::causal && attention != CleanAttention::block)) {
    fail(
        "segment {} cannot be kept: it must be causal (or of a model with block attention), without parent, "
        "and continue its sequence",
        index);
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

void PassPlan::plan(std::span<const Segment> given, const void* owner, const ModelConfig& config) {
  segments.clear();
  wanted.clear();
  rows = 0;
  approximate = !given.empty();
  for (size_t i = 0; i < given.size(); ++i) {
    const Segment& segment = given[i];
    check_context(given, i, owner, config.clean_attention);
    check_rows(segment, i);
    check_tokens(segment, i, config);
    if (rows + static_cast<int64_t>(segment.tokens.size()) > kMaxRows)
      fail("a pass cannot hold {} rows", kMaxRows);

    approximate &= segment.approximate && !segment.keep;
    segments.push_back({&segment, rows, static_cast<int>(segment.tokens.size())});
    for (Wanted row : segment.wanted) {
      row.row += rows;
      wanted.push_back(row);
    }
    rows += segments.back().rows;
  }
}

void PassPlan::ask_choices() {
  auto row = wanted.begin();
  for (const PlannedSegment& planned : segments) {
    if (planned.segment->before_choice) planned.segment->before_choice();
    for (const Wanted& asked : planned.segment->wanted) (row++)->allowed = asked.allowed;
  }
}

}  // namespace dvlm
