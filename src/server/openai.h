// OpenAI's chat completions as JSON: requests in, answers out. No HTTP here.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "server/answer_format.h"
#include "server/request_fields.h"

namespace dvlm {

// A request for /v1/chat/completions. What dvlm has beyond OpenAI's fields stands under "dvlm": decoder,
// block_size, branches, threshold, sub_block, top_k, min_pixels, max_pixels, passes. Throws Error with a
// sentence for the client for anything that is malformed, out of range, or would be ignored.
ApiRequest parse_chat_request(const nlohmann::json& body, const ModelConfig& config,
                              const ChatLimits& limits);

std::unique_ptr<AnswerFormat> chat_format(FormatOptions options);

}  // namespace dvlm
