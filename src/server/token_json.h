// Tokens and their probabilities, as JSON.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

#include "engine/token_writer.h"

namespace dvlm {

// OpenAI's chat: {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}], "refusal": null}.
nlohmann::json chat_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens);

// OpenAI's completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}. `offset`: characters
// before the first token, moved behind the last.
nlohmann::json completion_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens,
                                   int64_t& offset);

// SGLang's: [[logprob, id, text or null], ...], and for each token a list of the same for the likeliest.
nlohmann::json sglang_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens, bool texts);
nlohmann::json sglang_top_logprobs(std::span<const TokenLogprob> answer, const TokenWriter& tokens,
                                   bool texts);

}  // namespace dvlm
