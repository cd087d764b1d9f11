#include "decode/decoder.h"

#include <fmt/format.h>

#include <cmath>

#include "checkpoint/config.h"
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

namespace {

std::string penalty_problem(const SamplingOptions& sampling, DecoderKind kind) {
  if (!(sampling.repetition_penalty >= kMinRepetitionPenalty &&
        sampling.repetition_penalty <= kMaxRepetitionPenalty))
    return fmt::format("repetition_penalty must be {} to {}, not {}", kMinRepetitionPenalty,
                       kMaxRepetitionPenalty, sampling.repetition_penalty);
  for (const auto& [name, penalty] : {std::pair{"presence_penalty", sampling.presence_penalty},
                                      {"frequency_penalty", sampling.frequency_penalty}})
    if (!(std::abs(penalty) <= kMaxPenalty))
      return fmt::format("{} must be -{} to {}, not {}", name, kMaxPenalty, kMaxPenalty, penalty);
  if (sampling.logit_bias.size() > kMaxLogitBiases)
    return fmt::format("logit_bias has {} tokens, but at most {} are read", sampling.logit_bias.size(),
                       kMaxLogitBiases);
  for (const auto& [token, bias] : sampling.logit_bias)
    if (token < 0 || !(std::abs(double{bias}) <= kMaxLogitBias))
      return fmt::format("logit_bias must be -{} to {} for each token id, not {} for {}", kMaxLogitBias,
                         kMaxLogitBias, bias, token);
  if (sampling.changes_logits() && !info_of(kind).lossless)
    return "masked diffusion has no penalties and no logit_bias: its tokens are not chosen one after the "
           "other; use another decoder or leave them out";
  return "";
}

}  // namespace

std::string DecodeOptions::problem() const {
  if (max_tokens < 0) return fmt::format("max_tokens must be at least 0, not {}", max_tokens);
  if (block_size < 1 || block_size > kMaxBlockSize)
    return fmt::format("block_size must be 1 to {}, not {}", kMaxBlockSize, block_size);
  if (branches < 1) return fmt::format("branches must be at least 1, not {}", branches);
  if (!(draft_p_min >= 0 && draft_p_min <= kMaxDraftPMin))
    return fmt::format("draft_p_min must be 0 (verify every draft) to {}, not {}", kMaxDraftPMin,
                       draft_p_min);
  if (logprobs >= 0 && !info_of(kind).lossless)
    return "masked diffusion has no probabilities to report: its tokens are not chosen one after the other; "
           "use another decoder or leave logprobs out";
  if (sub_block < 1) return fmt::format("sub_block must be at least 1, not {}", sub_block);
  if (!(threshold >= 0 && threshold <= 1)) return fmt::format("threshold must be 0 to 1, not {}", threshold);
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature))
    return fmt::format("temperature must be 0 (greedy) or a positive number, not {}", sampling.temperature);
  if (sampling.top_k < 0) return fmt::format("top_k must be 0 (all tokens) or more, not {}", sampling.top_k);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    return fmt::format("top_p must be above 0 and at most 1, not {}", sampling.top_p);
  return penalty_problem(sampling, kind);
}

std::string DecodeContext::problem(DecoderKind kind) const {
  if (clean_attention == CleanAttention::block && info_of(kind).lossless)
    return fmt::format(
        "the model was trained with block attention (clean_attention in its config.json), so it has no "
        "autoregressive half, which decoder {} needs; use mdm",
        name_of(kind));
  if (valid_tokens < 0)
    return fmt::format("valid_tokens must be 0 (the vocabulary) or more, not {}", valid_tokens);
  if (context_limit < 0) return fmt::format("context_limit must be 0 (none) or more, not {}", context_limit);
  if (info_of(kind).needs_mask && mask_token < 0)
    return "masked diffusion and speculation need a mask token; decode autoregressively without one";
  if (grammar && !info_of(kind).lossless)
    return "masked diffusion cannot follow a grammar: its tokens are not chosen one after the other; use "
           "another decoder";
  if (kind == DecoderKind::automatic && !chooser) return "automatic decoding needs a chooser of block sizes";
  return "";
}

std::span<const DecoderInfo> decoders() {
  static constexpr DecoderInfo kDecoders[] = {
      {DecoderKind::autoregressive, "ar", false, true, false, make_autoregressive, "one token per pass"},
      {DecoderKind::masked_diffusion, "mdm", true, false, false, make_masked_diffusion, "masked diffusion"},
      {DecoderKind::speculative, "spec", true, true, true, make_speculative, "lossless self-speculation"},
      {DecoderKind::fused, "fused", true, true, false, make_speculative,
       "spec whose passes verify and draft at once"},
      {DecoderKind::automatic, "auto", false, true, true, make_speculative,
       "spec or fused with block sizes chosen by what passes cost"},
  };
  return kDecoders;
}

const DecoderInfo& info_of(DecoderKind kind) {
  for (const DecoderInfo& info : decoders())
    if (info.kind == kind) return info;
  fail("unknown decoder");
}

DecoderKind decoder_kind(std::string_view name) {
  for (const DecoderInfo& info : decoders())
    if (info.name == name) return info.kind;
  fail("there is no decoder \"{}\"; choose {}", printable(name), decoder_choice());
}

std::vector<std::string> decoder_names(bool lossless_only) {
  std::vector<std::string> names;
  for (const DecoderInfo& info : decoders())
    if (info.lossless || !lossless_only) names.emplace_back(info.name);
  return names;
}

std::string decoder_choice(bool lossless_only) {
  const std::vector<std::string> names = decoder_names(lossless_only);
  return fmt::format("{} or {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

std::unique_ptr<Decoder> make_decoder(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options,
                                      const DecodeContext& context) {
  for (const std::string& problem : {options.problem(), context.problem(options.kind)})
    if (!problem.empty()) fail("{}", problem);
  return info_of(options.kind).make(prompt, sequence, options, context);
}

}  // namespace dvlm
