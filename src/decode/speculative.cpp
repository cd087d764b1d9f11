// Self-speculation. A bidirectional pass drafts a block and a causal pass over the same tokens verifies it
// (docs/reference.md, Linear speculation); or, quadratic and pruned, the verifying pass carries masks that
// draft what would follow the most probable numbers of right drafts (docs/reference.md, Quadratic
// speculation). Every emitted token is what the causal rows pick behind an accepted prefix, so the text is
// AR's, however much of a draft is verified.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "decode/base.h"

namespace dvlm {
namespace {

constexpr int kMaxRows = 1024;  // of a pass that verifies and drafts: branches beyond are left out

class Speculative final : public DecoderBase {
 public:
  Speculative(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
              const DecodeContext& context)
      : DecoderBase(prompt, sequence, options, context),
        chooser_(options.kind == DecoderKind::automatic ? context.chooser : nullptr),
        history_(options.block_size, kPriorBranchChance),
        masks_(static_cast<size_t>(options.block_size), context.mask_token),
        every_row_(masks_.size() + kMaxForced) {
    std::iota(every_row_.begin(), every_row_.end(), 0);
    judged_drafts_ = chooser_ || options.kind == DecoderKind::fused || options.draft_p_min > 0;
  }

 private:
  // A draft for the case that the first `accepted` tokens of the block are right.
  struct Branch {
    int accepted, first_row, masks;
  };

  void plan() override {
    if (!drafted_) begin_round();
    branches_.clear();
    if (!drafted_) {  // row i drafts the token behind it, so that the last mask would draft nothing
      const size_t inputs = block_.size() - 1;
      set_pass(PassKind::draft, std::span<const TokenId>(block_).first(inputs),
               std::span<const int>(every_row_).first(inputs).subspan(known_ - 1),
               source_ == DraftSource::approximate);
      return;
    }
    trim();
    set_pass(PassKind::verify, block_, std::span<const int>(every_row_).first(block_.size()));
    add_branches();
  }

  void begin_round() {
    if (block_.empty()) begin_block();
    // A block of b emits at most b tokens; rows for more would be thrown away.
    const auto room = static_cast<size_t>(remaining());
    const int most = ends_ ? 1 : std::min(options_.block_size, static_cast<int>(room - known_) + 1);
    const bool fused = options_.kind == DecoderKind::fused;
    plan_ = chooser_ ? chooser_->choose(most, static_cast<int>(known_) - 1)
                     : RoundPlan{most, fused && most > 1 ? options_.branches : 0};
    // A draft that a branch made is there for nothing.
    drafted_ = block_.size() > known_ || plan_.branches > 0 || plan_.block == 1;
    if (!drafted_) {
      source_ = plan_.source;
      block_.resize(known_ - 1 + static_cast<size_t>(plan_.block), context_.mask_token);
    }
    block_.resize(std::min(block_.size(), room));
    if (drafted_ && judged_drafts_) confidences_.resize(block_.size() - 1);
    ++stats_.rounds;
    if (chooser_) ++stats_.blocks[static_cast<int>(block_.size())];
  }

  // last_ and what the grammar leaves no choice for.
  void begin_block() {
    block_.assign(1, last_);
    ends_ = !add_forced(block_, static_cast<size_t>(std::min(remaining(), 1 + kMaxForced)));
    known_ = block_.size();
    confidences_.assign(judged_drafts_ ? known_ - 1 : 0, kCertain);
  }

  // Leaves out drafts at the end of the block that are not worth a row.
  void trim() {
    left_out_ = kNothing;
    if (!judged_drafts_) return;
    size_t inputs = 1;
    double reached = 1;
    for (const float confidence : confidences_) {
      if (confidence != kCertain) reached *= static_cast<double>(confidence);
      if (reached < options_.draft_p_min) break;
      ++inputs;
    }
    if (chooser_)
      inputs = std::min(inputs, static_cast<size_t>(chooser_->worth_verifying(confidences_, plan_, source_)));
    if (inputs == block_.size()) return;
    left_out_ = block_[inputs];
    block_.resize(inputs);
  }

  void add_branches() {
    if (plan_.branches == 0) return;
    const int size = static_cast<int>(block_.size());
    const auto verified = std::span<const float>(confidences_).first(block_.size() - 1);
    int row = size;
    for (const int accepted : branches().likely_ends(verified, plan_.branches)) {
      const int masks = std::min(plan_.block, remaining() - accepted) - 1;
      if (masks < 1 || row + masks > kMaxRows) continue;
      add_branch(std::span<const TokenId>(masks_).first(static_cast<size_t>(masks)), accepted,
                 std::span<const int>(every_row_).first(static_cast<size_t>(masks)));
      branches_.push_back({accepted, row, masks});
      row += masks;
    }
  }

  void absorb(std::span<const Chosen> chosen) override {
    if (drafted_) {
      verify(chosen);
    } else {
      draft(chosen);
      record_forced(block_);
      record_block(block_, 1);
      drafted_ = true;
    }
  }

  // Fills the block behind what is known. What is no number only makes the draft shorter: drafts decide
  // nothing.
  void draft(std::span<const Chosen> chosen) {
    block_.resize(known_);
    drafts_ = 0;
    if (context_.grammar) return draft_by_grammar(chosen);
    for (const Chosen& choice : chosen) {
      if (!choice.valid()) break;
      add_draft(choice.token, choice.logprob);
    }
  }

  void add_draft(TokenId token, float logprob) {
    if (judged_drafts_) confidences_.push_back(std::exp(logprob));
    block_.push_back(token);
    ++drafts_;
  }
  // A row may become several tokens: no block has more than its size says, nor more rows than there are.
  bool full() const { return drafts_ >= options_.block_size - 1 || block_.size() >= every_row_.size(); }

  // The grammar decides where it can. What it refuses gives way to the most probable that it does not, or to
  // the part of it that it does not; a stop token ends the draft.
  void draft_by_grammar(std::span<const Chosen> chosen) {
    for (size_t used = 0; used < chosen.size();) {
      const size_t before = block_.size();
      add_known(std::min(before + chosen.size() - used, every_row_.size()));
      used += block_.size() - before;
      if (used == chosen.size() || !chosen[used].valid()) break;
      if (!add_possible(chosen[used++]) || full()) break;
    }
    add_known(every_row_.size());
  }

  // False when nothing of it may follow and be followed.
  bool add_possible(const Chosen& choice) {
    TokenGrammar& grammar = *context_.grammar;
    const int state = grammar_state(block_);
    TokenLogprob best{choice.token, choice.logprob};
    const auto fits = [&] { return grammar.step(state, best.token) != TokenGrammar::kDead; };
    for (const auto& [token, logprob] : choice.top)
      if (!fits()) best = {token, logprob};
    if (!fits()) best = {choice.token, choice.logprob};
    const size_t before = block_.size();
    int reached = state;
    for (const TokenId token : grammar.possible_part(state, best.token)) {
      reached = grammar.step(reached, token);
      if (reached == TokenGrammar::kDead || grammar.ended(reached) || full()) break;
      add_draft(token, best.logprob);
    }
    return block_.size() > before;
  }

  // What the grammar leaves no choice for behind the block, up to `most` tokens in all.
  void add_known(size_t most) {
    add_forced(block_, std::min(most, static_cast<size_t>(remaining())));
    if (judged_drafts_) confidences_.resize(block_.size() - 1, kCertain);
  }

  void verify(std::span<const Chosen> chosen) {
    const int size = static_cast<int>(block_.size()), start = committed() - size;
    int accepted = 0;  // inputs whose K/V are right
    record_forced(block_);
    bool going = true, matches = true;
    while (going && matches && accepted < size) {
      going = emit(chosen[static_cast<size_t>(accepted)]);
      ++accepted;
      matches = last_ == (accepted < size ? block_[static_cast<size_t>(accepted)] : left_out_);
    }
    sequence_.truncate(start + accepted);
    // The last row also tells about the first draft that was left out. Where rows or the text ended with a
    // draft that was right, the next one was never judged.
    const int right = accepted - 1 + (matches ? 1 : 0);
    if (chooser_)
      chooser_->record(confidences_, right, matches, source_);
    else
      history_.record(confidences_, right, matches);
    stats_.fused += !branches_.empty();
    stats_.verified += size;
    record_block(block_, accepted);
    drafted_ = false;
    if (!going) return;
    begin_block();
    const auto branch = std::find_if(branches_.begin(), branches_.end(),
                                     [&](const Branch& b) { return b.accepted == accepted; });
    if (branch == branches_.end()) return;
    source_ = DraftSource::branch;
    const auto rows =
        chosen.subspan(static_cast<size_t>(branch->first_row), static_cast<size_t>(branch->masks));
    draft(rows.subspan(std::min(rows.size(), known_ - 1)));  // those before draft what is known
  }

  const DraftHistory& branches() const {
    return chooser_ ? chooser_->history(DraftSource::branch) : history_;
  }

  static constexpr TokenId kNothing = -1;

  std::shared_ptr<BlockChooser> chooser_;  // or null: rounds of one kind
  DraftHistory history_;                   // without a chooser: of this text's branches
  RoundPlan plan_;
  std::vector<TokenId> block_;                     // last_ and its draft, when there is one
  size_t known_ = 1;                               // tokens of block_ before its draft
  int drafts_ = 0;                                 // of block_, without what the grammar knows
  bool ends_ = false;                              // the grammar's text ends behind these
  std::vector<float> confidences_;                 // in each draft that was made, when they are judged
  TokenId left_out_ = kNothing;                    // the first draft that is not verified
  bool drafted_ = false;                           // block_ waits for verification
  DraftSource source_ = DraftSource::approximate;  // of the draft in block_
  std::vector<Branch> branches_;                   // of the pass that runs
  const std::vector<TokenId> masks_;
  std::vector<int> every_row_;
};

}  // namespace

std::unique_ptr<Decoder> make_speculative(const Prompt& prompt, Sequence& sequence,
                                          const DecodeOptions& options, const DecodeContext& context) {
  return std::make_unique<Speculative>(prompt, sequence, options, context);
}

}  // namespace dvlm
