// OpenAI's completions: text after a raw prompt, without a chat template. No HTTP here.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "server/answer_format.h"
#include "server/request_fields.h"

namespace dvlm {

// A request for /v1/completions; its prompt becomes Request::input_ids. Throws Error with a sentence for the
// client.
ApiRequest parse_completion_request(const nlohmann::json& body, const ModelConfig& config,
                                    const Tokenizer& tokenizer, const ChatLimits& limits);

std::unique_ptr<AnswerFormat> completion_format(FormatOptions options);

}  // namespace dvlm
