#include "decode/base.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "grammar/grammar_error.h"
#include "model/choose.h"

namespace dvlm {

namespace {

constexpr int kOtherDrafts = 8;  // among which one is looked for that the grammar allows

}  // namespace

DecoderBase::DecoderBase(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
                         const DecodeContext& context)
    : options_(options),
      context_(context),
      sequence_(sequence),
      prompt_(prompt),
      prompt_tokens_(static_cast<int>(prompt.tokens.size())),
      max_tokens_(options.max_tokens),
      penalties_(options.sampling, prompt.tokens) {
  if (prompt.tokens.empty()) fail("the prompt is empty: give it at least one token");
  DVLM_ASSERT(prompt.rope.positions.size() == prompt.tokens.size());
  DVLM_ASSERT(sequence.length() < prompt_tokens_);
  DVLM_ASSERT(!block_attention() || (!prompt.turn_ends.empty() && prompt.turn_ends.back() == prompt_tokens_));
  DVLM_ASSERT(prompt.pads.empty() ? prompt.features.empty()
                                  : prompt.features.size() % prompt.pads.size() == 0);
  if (context.context_limit > 0) {
    const int free = context.context_limit - prompt_tokens_;
    if (free < 1)
      fail(
          "the prompt has {} tokens, but the model's context has {} positions and the answer needs at least "
          "one: shorten the prompt or lower --max-pixels",
          prompt_tokens_, context.context_limit);
    max_tokens_ = std::min(max_tokens_, free);
  }
}

std::span<const Segment> DecoderBase::next(int prefill_rows) {
  DVLM_ASSERT(finished_ == FinishReason::none && prefill_rows > 0);
  if (prefilled_)
    plan();
  else
    plan_prefill(prefill_rows);
  return segments_;
}

std::span<const TokenId> DecoderBase::take(std::span<const Chosen> chosen) {
  size_t rows = 0;
  for (const Segment& segment : segments_) rows += segment.wanted.size();
  DVLM_ASSERT(chosen.size() == rows);
  if (refused_) std::rethrow_exception(refused_);
  emitted_.clear();
  logprobs_.clear();
  if (prefilled_) {
    ++stats_.nfe;
    absorb(chosen);
  } else {
    ++stats_.prefill_passes;
    prefilled_ = committed() == prompt_tokens_;
    if (prefilled_ && max_tokens_ == 0)
      finished_ = FinishReason::length;
    else if (prefilled_)
      emit(chosen[0]);
  }
  // A decoder keeps no K/V of what it did not emit: the next turn may reuse all of it.
  DVLM_ASSERT(committed() <= prompt_tokens_ + stats_.tokens);
  record_.emitted = static_cast<int>(emitted_.size());
  return emitted_;
}

void DecoderBase::plan_prefill(int rows) {
  const int left = prompt_tokens_ - committed();
  const int count = block_attention()
                        ? *std::ranges::upper_bound(prompt_.turn_ends, committed()) - committed()
                        : std::min(left, rows);
  const int last_row = count - 1;
  record_ = {PassKind::prefill, count, {}};
  wanted_.clear();
  segments_.assign(1, prompt_segment(prompt_, sequence_, committed(), count));
  segments_[0].visibility = kept_visibility();
  if (count < left || max_tokens_ == 0) return;
  segments_[0].wanted = wishes(PassKind::prefill, {&last_row, 1}, committed());
  if (context_.grammar) segments_[0].before_choice = allowing(segments_[0].tokens, last_row);
}

// Keeps the positions of `count` generated tokens from index `first` on until take().
std::span<const Position> DecoderBase::positions(int first, size_t count) {
  return positions_.emplace_back(text_positions(first, static_cast<int>(count), prompt_.rope.delta));
}

// A row predicts the token behind its own. A draft draws with the number that verification will use at the
// same position: the likelier a match.
Wanted DecoderBase::wish(PassKind kind, int row, int position) const {
  const SamplingOptions& sampling = options_.sampling;
  const bool drafts = kind == PassKind::draft || kind == PassKind::denoise;
  Wanted wanted{.row = row, .alternatives = options_.logprobs};
  if (drafts) {
    wanted.excluded = {context_.mask_token, context_.valid_tokens};
    wanted.probability = kind == PassKind::denoise;
    if (kind == PassKind::draft && context_.grammar)
      wanted.alternatives = kOtherDrafts;
    else
      wanted.alternatives = kind == PassKind::draft && judged_drafts_ ? 0 : -1;
  }
  if (sampling.temperature == 0) return wanted;
  wanted.choice = Choice::draw;
  wanted.temperature = sampling.temperature;
  wanted.top_k = sampling.top_k;
  wanted.top_p = sampling.top_p;
  wanted.u = uniform(sampling.seed, kind == PassKind::denoise ? denoise_stream_ : 0,
                     static_cast<uint64_t>(position));
  return wanted;
}

// Keeps, until take(), what is wanted of these rows of a segment whose first token stands at
// `first_position`.
std::span<const Wanted> DecoderBase::wishes(PassKind kind, std::span<const int> rows, int first_position) {
  std::vector<Wanted>& out = wanted_.emplace_back();
  for (const int row : rows) out.push_back(wish(kind, row, first_position + row + 1));
  if (!penalties_.any()) return out;
  // Good enough for drafts; change_rows() tells rows that decide apart.
  const std::vector<LogitChange>& changes = changes_.emplace_back(penalties_.behind());
  for (Wanted& wanted : out) wanted.changes = changes;
  return out;
}

void DecoderBase::set_pass(PassKind kind, std::span<const TokenId> tokens, std::span<const int> rows,
                           bool approximate) {
  const bool keep = kind != PassKind::draft && kind != PassKind::denoise;
  record_ = {kind, static_cast<int>(tokens.size()), {}};
  positions_.clear();
  wanted_.clear();
  changes_.clear();
  segments_.assign(1, {.sequence = &sequence_,
                       .tokens = tokens,
                       .positions = positions(committed(), tokens.size()),
                       .features = {},
                       .visibility = keep ? kept_visibility() : Visibility::bidirectional,
                       .context = committed(),
                       .keep = keep,
                       .approximate = approximate,
                       .wanted = wishes(kind, rows, committed())});
  if (keep && context_.grammar) segments_[0].before_choice = allowing(tokens, 0);
  if (keep && penalties_.any()) change_rows(tokens);
}

// Rows of the pass that decides see the tokens before them as text, of which last_ is already.
void DecoderBase::change_rows(std::span<const TokenId> tokens) {
  for (Wanted& wanted : wanted_[0])
    wanted.changes =
        changes_.emplace_back(penalties_.behind(tokens.subspan(1, static_cast<size_t>(wanted.row))));
}

// Others share the pass: what the grammar refuses is thrown by take().
std::function<void()> DecoderBase::allowing(std::span<const TokenId> tokens, int known) {
  return [this, tokens, known] {
    try {
      allow_rows(tokens, known);
    } catch (const GrammarError&) {
      refused_ = std::current_exception();
    }
  };
}

// Lets rows of the pass that decides choose what the grammar allows behind their tokens; state_ is behind the
// one of number `known`.
void DecoderBase::allow_rows(std::span<const TokenId> tokens, int known) {
  allowed_.clear();
  int state = state_;
  for (Wanted& wanted : wanted_[0]) {
    while (known < wanted.row) state = context_.grammar->step(state, tokens[static_cast<size_t>(++known)]);
    wanted.allowed = *allowed_.emplace_back(context_.grammar->mask(state));
  }
}

int DecoderBase::grammar_state(std::span<const TokenId> block) {
  int state = state_;
  for (const TokenId token : block.subspan(1)) state = context_.grammar->step(state, token);
  return state;
}

bool DecoderBase::add_forced(std::vector<TokenId>& block, size_t most) {
  if (!context_.grammar) return true;
  for (int state = grammar_state(block); block.size() < most;) {
    const TokenId token = context_.grammar->only(state);
    if (token < 0) return true;
    state = context_.grammar->step(state, token);
    if (context_.grammar->ended(state)) return false;
    block.push_back(token);
  }
  return true;
}

void DecoderBase::add_branch(std::span<const TokenId> masks, int accepted, std::span<const int> rows) {
  segments_.push_back({.sequence = &sequence_,
                       .tokens = masks,
                       .positions = positions(committed() + accepted, masks.size()),
                       .features = {},
                       .visibility = Visibility::bidirectional,
                       .context = committed(),
                       .parent = 0,
                       .parent_tokens = accepted,
                       .wanted = wishes(PassKind::draft, rows, committed() + accepted)});
  record_.rows += static_cast<int>(masks.size());
}

void DecoderBase::record_block(std::span<const TokenId> block, int accepted) {
  if (!options_.record) return;
  record_.block.assign(block.begin(), block.end());
  record_.accepted = accepted;
}

void DecoderBase::record_forced(std::span<const TokenId> block) {
  if (!options_.record || !context_.grammar) return;
  int state = state_;
  for (size_t i = 1; i < block.size() && state != TokenGrammar::kDead; ++i) {
    if (context_.grammar->only(state) == block[i]) record_.forced.push_back(static_cast<int>(i));
    state = context_.grammar->step(state, block[i]);
  }
}

bool DecoderBase::emit(TokenId token) {
  emitted_.push_back(token);
  penalties_.add(token);
  ++stats_.tokens;
  if (is_stop(token) || !follow_grammar(token))
    finished_ = FinishReason::stop;
  else if (remaining() == 0)
    finished_ = FinishReason::length;
  return finished_ == FinishReason::none;
}

// Whether text can go on behind it.
bool DecoderBase::follow_grammar(TokenId token) {
  if (!context_.grammar) return true;
  stats_.forced += context_.grammar->only(state_) >= 0;
  state_ = context_.grammar->step(state_, token);
  return !context_.grammar->ended(state_);
}

bool DecoderBase::emit(const Chosen& chosen) {
  check_valid(chosen);
  if (options_.logprobs >= 0) logprobs_.push_back({chosen.token, chosen.logprob, chosen.top});
  return emit(last_ = chosen.token);
}

bool DecoderBase::is_stop(TokenId token) const {
  return std::find(prompt_.stop_tokens.begin(), prompt_.stop_tokens.end(), token) !=
         prompt_.stop_tokens.end();
}

}  // namespace dvlm
