// What the decoders share: prefill, the segments of generated tokens, and emission with its stop rules.
#pragma once
#include <exception>
#include <functional>
#include <span>
#include <vector>

#include "decode/decoder.h"
#include "decode/penalties.h"
#include "grammar/token_grammar.h"

namespace dvlm {

// A generated token's life: a row of a pass chooses it and it is emitted at once; its K/V are written by the
// next causal pass. So between rounds the sequence holds everything but the newest token, last_.
class DecoderBase : public Decoder {
 public:
  DecoderBase(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
              const DecodeContext& context);
  std::span<const Segment> next(int prefill_rows) final;
  std::span<const TokenId> take(std::span<const Chosen> chosen) final;
  bool prefilled() const final { return prefilled_; }

 protected:
  virtual void plan() = 0;  // calls set_pass() for the next pass after prefill
  virtual void absorb(std::span<const Chosen> chosen) = 0;  // reads its rows, emits

  // The next pass: `tokens` behind everything committed. Drafting passes (draft, denoise) are bidirectional
  // and keep no K/V; the others (decode, verify, commit) keep them and are causal, or with block attention
  // bidirectional. `tokens` and `rows` must live until take().
  // `approximate`: see Segment.
  void set_pass(PassKind kind, std::span<const TokenId> tokens, std::span<const int> rows,
                bool approximate = false);

  // Adds to a causal pass a draft for the case that its first `accepted` tokens are right: `masks` behind
  // those, seeing them and each other (docs/reference.md, Quadratic speculation).
  void add_branch(std::span<const TokenId> masks, int accepted, std::span<const int> rows);

  // Emits a token and checks the stop rules; false when the text ends with it.
  bool emit(TokenId token);
  // Emits what a row chose, which becomes last_. Throws Error when it had nothing to choose.
  bool emit(const Chosen& chosen);
  static constexpr int kMaxForced = 64;  // tokens that a pass carries for nothing but the grammar
  // Adds to `block`, whose first token is last_, what the grammar leaves no choice for, while text goes on
  // behind it, up to `most` tokens in all. False when it then ends.
  bool add_forced(std::vector<TokenId>& block, size_t most);
  // The state of the grammar behind `block`, whose first token is last_.
  int grammar_state(std::span<const TokenId> block);

  // Tells observers the block as it is now, and how many of its leading tokens are text.
  void record_block(std::span<const TokenId> block, int accepted);
  // Which tokens of a block had no choice. Before what it makes text is emitted.
  void record_forced(std::span<const TokenId> block);

  int committed() const { return sequence_.length(); }
  int remaining() const { return max_tokens_ - stats_.tokens; }
  // Positions that the model still has behind the committed tokens.
  int room() const {
    return context_.context_limit > 0 ? context_.context_limit - committed() : options_.block_size;
  }

  const DecodeOptions options_;
  const DecodeContext context_;
  Sequence& sequence_;
  TokenId last_ = 0;             // emitted, its K/V not yet written
  bool judged_drafts_ = false;   // drafts come with their log probability
  uint64_t denoise_stream_ = 0;  // of random numbers: tells repeated draws for one position apart

 private:
  void plan_prefill(int rows);
  Visibility kept_visibility() const {
    return block_attention() ? Visibility::bidirectional : Visibility::causal;
  }
  bool block_attention() const { return context_.clean_attention == CleanAttention::block; }
  std::span<const Position> positions(int first, size_t count);
  Wanted wish(PassKind kind, int row, int position) const;
  std::span<const Wanted> wishes(PassKind kind, std::span<const int> rows, int first_position);
  std::function<void()> allowing(std::span<const TokenId> tokens, int known);
  void allow_rows(std::span<const TokenId> tokens, int known);
  void change_rows(std::span<const TokenId> tokens);
  bool follow_grammar(TokenId token);
  bool is_stop(TokenId token) const;

  const Prompt& prompt_;
  const int prompt_tokens_;
  int max_tokens_;
  bool prefilled_ = false;
  std::vector<Segment> segments_;
  std::vector<std::vector<Position>> positions_;  // of each segment
  std::vector<std::vector<Wanted>> wanted_;       // likewise
  std::vector<TokenId> emitted_;
  int state_ = TokenGrammar::kStart;                       // of the grammar, behind what is emitted
  std::vector<std::shared_ptr<const TokenMask>> allowed_;  // of rows in the pass that runs
  std::exception_ptr refused_;                             // the grammar's limits, met in that pass
  Penalties penalties_;
  std::vector<std::vector<LogitChange>> changes_;  // of rows, likewise
};

// One of these for each file of a decoder; decoders() names them.
MakeDecoder make_autoregressive, make_masked_diffusion, make_speculative;

}  // namespace dvlm
