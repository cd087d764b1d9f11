#include "decode/decoder.h"

#include <cmath>

#include "core/error.h"
#include "decode/base.h"

namespace dvlm {

double DecodeStats::tokens_per_nfe() const {
  return nfe > 0 ? static_cast<double>(tokens - 1) / nfe : 0;
}

double DecodeStats::accepted_per_round() const {
  return rounds > 0 ? static_cast<double>(tokens - 1) / rounds : 0;
}

double DecodeStats::verified_per_round() const {
  return rounds > 0 ? static_cast<double>(verified) / rounds : 0;
}

std::string DecodeOptions::problem() const {
  constexpr int kMaxBlock = 1024;
  if (max_tokens < 1) return fmt::format("max_tokens must be at least 1, not {}", max_tokens);
  if (block_size < 1 || block_size > kMaxBlock)
    return fmt::format("block_size must be 1 to {}, not {}", kMaxBlock, block_size);
  if (branches < 1) return fmt::format("branches must be at least 1, not {}", branches);
  if (!(draft_p_min >= 0 && draft_p_min <= kMaxDraftPMin))
    return fmt::format("draft_p_min must be 0 (verify every draft) to {}, not {}", kMaxDraftPMin,
                       draft_p_min);
  if (logprobs >= 0 && kind == DecoderKind::masked_diffusion)
    return "masked diffusion has no probabilities to report: its tokens are not chosen one after the other; "
           "use another decoder or leave logprobs out";
  if (sub_block < 1) return fmt::format("sub_block must be at least 1, not {}", sub_block);
  if (!(threshold >= 0 && threshold <= 1)) return fmt::format("threshold must be 0 to 1, not {}", threshold);
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature))
    return fmt::format("temperature must be 0 (greedy) or a positive number, not {}", sampling.temperature);
  if (sampling.top_k < 0) return fmt::format("top_k must be 0 (all tokens) or more, not {}", sampling.top_k);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    return fmt::format("top_p must be above 0 and at most 1, not {}", sampling.top_p);
  return "";
}

std::string DecodeContext::problem(DecoderKind kind) const {
  if (valid_tokens < 0)
    return fmt::format("valid_tokens must be 0 (the vocabulary) or more, not {}", valid_tokens);
  if (context_limit < 0) return fmt::format("context_limit must be 0 (none) or more, not {}", context_limit);
  if (kind != DecoderKind::autoregressive && mask_token < 0)
    return "masked diffusion and speculation need a mask token; decode autoregressively without one";
  if (kind == DecoderKind::automatic && !chooser) return "automatic decoding needs a chooser of block sizes";
  return "";
}

std::unique_ptr<Decoder> make_decoder(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
                                      const DecodeContext& context) {
  for (const std::string& problem : {options.problem(), context.problem(options.kind)})
    if (!problem.empty()) fail("{}", problem);
  switch (options.kind) {
    case DecoderKind::autoregressive:
      return make_autoregressive(prompt, sequence, options, context);
    case DecoderKind::masked_diffusion:
      return make_masked_diffusion(prompt, sequence, options, context);
    case DecoderKind::speculative:
    case DecoderKind::fused:
    case DecoderKind::automatic:
      return make_speculative(prompt, sequence, options, context);
  }
  fail("unknown decoder");
}

}  // namespace dvlm
