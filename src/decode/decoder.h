// Decoders: how text is written, as state machines without a model inside. A driver alternates
//   forward(decoder.next()) -> decoder.take(chosen)
// until the decoder is finished; the segments of several decoders may share one forward().
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "decode/block_chooser.h"
#include "model/prompt.h"

namespace dvlm {

class TokenGrammar;

// speculative: a pass drafts, a pass verifies; fused: a pass verifies and drafts (the paper's quadratic
// decoding, pruned); automatic: either, with a block size for every round (1: no draft), from what drafts and
// passes are worth.
enum class DecoderKind { autoregressive, masked_diffusion, speculative, fused, automatic };
enum class FinishReason { none, stop, length, cancelled };

struct SamplingOptions {
  double temperature = 0;  // 0 = greedy
  int top_k = 0;           // 0 = all
  double top_p = 1;        // (0, 1]
  uint64_t seed = 0;       // the text is a function of prompt, seed and these options
  // Logits of tokens that stand in prompt or text are divided by this where they are above 0, and multiplied
  // elsewhere (CTRL, arXiv 1909.05858, 4.1).
  double repetition_penalty = 1;
  // Logits of tokens of the text lose the first, and as often the second as they were written. -2 to 2.
  double presence_penalty = 0, frequency_penalty = 0;
  // Is added to these tokens' logits, before the penalties. Each token once; -100 to 100.
  std::vector<std::pair<TokenId, float>> logit_bias = {};

  bool changes_logits() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0 || !logit_bias.empty();
  }
};
inline constexpr double kMinRepetitionPenalty = 0.01, kMaxRepetitionPenalty = 10, kMaxPenalty = 2,
                        kMaxLogitBias = 100;
inline constexpr size_t kMaxLogitBiases = 1024;
inline constexpr uint64_t kMaxSeed = uint64_t{1} << 53;  // that people give: exact in JSON numbers, too

// A token of the text and what the model thought of it, see Chosen.
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  std::vector<std::pair<TokenId, float>> top = {};
  bool operator==(const TokenLogprob&) const = default;
};

enum class PassKind : uint8_t { prefill, decode, draft, verify, denoise, commit };

// One pass as an observer sees it.
struct PassRecord {
  PassKind kind = PassKind::prefill;
  int rows = 0;                  // that this request had in the pass
  std::vector<TokenId> block;    // draft, verify, denoise, commit: its tokens, the mask token where masked
  int accepted = 0;              // of the block: how many of its tokens are text now
  int emitted = 0;               // tokens that the pass added to the text
  std::vector<int> forced = {};  // indices in the block: the grammar left no choice for these
};

constexpr double kMaxDraftPMin = 0.999;

struct DecodeOptions {
  DecoderKind kind = DecoderKind::automatic;
  int block_size = 32;     // tokens per draft, including the known first one; automatic: at most
  double threshold = 0.9;  // tau of masked diffusion
  int sub_block = 8;       // masked diffusion: tokens denoised together, left to right
  int branches = 4;        // fused: numbers of right drafts that a pass prepares for; block_size: all
  // Speculation verifies no draft that is less probable than this to be right together with all before it,
  // going by the model's own probabilities. 0 (all) to kMaxDraftPMin
  double draft_p_min = 0;
  int max_tokens = 512;  // 0: the prompt is read and nothing written
  SamplingOptions sampling = {};
  int logprobs = -1;    // alternatives reported with every token; -1: no probabilities at all
  bool record = false;  // keep PassRecords

  // The first field that is out of range, as a sentence, or "".
  std::string problem() const;
};

// What a decoder must know of the model, and what outlives one answer.
struct DecodeContext {
  TokenId mask_token = -1;  // required by every decoder but ar
  int valid_tokens = 0;     // drafts choose no id at or above it (padding rows of the head); 0 = vocab size
  int context_limit = 0;    // positions that the model has; 0 = no limit
  CleanAttention clean_attention = CleanAttention::causal;  // what kept tokens see
  std::shared_ptr<BlockChooser> chooser = {};  // automatic: what it learns here serves later answers
  std::shared_ptr<TokenGrammar> grammar = {};  // that the text follows; null: any text

  std::string problem(DecoderKind kind) const;  // likewise
};

struct DecodeStats {
  int prefill_passes = 0;
  int nfe = 0;       // passes after prefill
  int rounds = 0;    // speculative: draft + verify; masked diffusion: blocks begun; autoregressive: passes
  int tokens = 0;    // emitted, stop token included
  int forced = 0;    // of these: the grammar left no choice
  int fused = 0;     // rounds whose verifying pass also drafted
  int verified = 0;  // speculative: tokens of blocks that were verified, the known first ones included
  std::map<int, int> blocks;          // automatic: rounds by block size, as drafted
  double tokens_per_nfe() const;      // tokens after the first, which prefill gives, per pass
  double accepted_per_round() const;  // the same per round
  double verified_per_round() const;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The segments of the next pass; views stay valid until take(). The first calls prefill the part of the
  // prompt that the sequence does not hold yet (its length() tells: a prefix may have been reused), at most
  // `prefill_rows` tokens in a pass; with block attention a turn, however long.
  virtual std::span<const Segment> next(int prefill_rows = std::numeric_limits<int>::max()) = 0;
  // What the wanted rows of next()'s segments gave. Truncates the sequence to what is committed and returns
  // the tokens emitted now.
  virtual std::span<const TokenId> take(std::span<const Chosen> chosen) = 0;
  virtual bool prefilled() const = 0;
  FinishReason finished() const { return finished_; }
  const DecodeStats& stats() const { return stats_; }
  // When the options ask for them: the probabilities of the tokens that take() returned last, and its pass.
  const std::vector<TokenLogprob>& logprobs() const { return logprobs_; }
  const PassRecord& record() const { return record_; }

 protected:
  FinishReason finished_ = FinishReason::none;
  DecodeStats stats_;
  std::vector<TokenLogprob> logprobs_;
  PassRecord record_;
};

using MakeDecoder = std::unique_ptr<Decoder>(const Prompt& prompt, Sequence& sequence,
                                             const DecodeOptions& options, const DecodeContext& context);

// A way of writing text. The command line, JSON, the server and the tests of the page and of openapi.yaml
// take their lists from decoders().
struct DecoderInfo {
  DecoderKind kind;
  std::string_view name;  // that users give
  bool needs_mask;        // else a model that was never converted will do
  bool lossless;          // writes what ar writes
  bool drafts_apart;      // has passes that only draft, see DraftPrecision
  MakeDecoder* make;
  std::string_view help;
};
std::span<const DecoderInfo> decoders();
const DecoderInfo& info_of(DecoderKind kind);
inline std::string_view name_of(DecoderKind kind) {
  return info_of(kind).name;
}
DecoderKind decoder_kind(std::string_view name);  // throws Error listing the names there are
std::vector<std::string> decoder_names(bool lossless_only = false);
std::string decoder_choice(bool lossless_only = false);  // "ar, mdm, ... or auto"

// Throws Error when options or context have a problem() or the prompt leaves no position for an answer.
// The prompt must outlive the decoder. `sequence` may hold a prefix of the prompt, at most all but its last
// token; when the decoder has finished it holds a prefix of the prompt and the emitted tokens. It must have
// room for the prompt, max_tokens and one block.
std::unique_ptr<Decoder> make_decoder(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
                                      const DecodeContext& context);

}  // namespace dvlm
