// The APIs that write text as JSON: requests in, answers out. No HTTP here.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "server/answer_format.h"
#include "server/request_fields.h"

namespace dvlm {

// A request for /v1/chat/completions. What dvlm has beyond OpenAI's fields stands under "dvlm", see
// extension_fields(). Throws Error with a sentence for the client for anything that is malformed, out of
// range, or would be ignored.
ApiRequest parse_chat_request(const nlohmann::json& body, const ModelConfig& config,
                              const Tokenizer& tokenizer, const ChatLimits& limits);

std::unique_ptr<AnswerFormat> chat_format(FormatOptions options);

// A request for /v1/completions; its prompt becomes Request::input_ids. Throws Error with a sentence for the
// client.
ApiRequest parse_completion_request(const nlohmann::json& body, const ModelConfig& config,
                                    const Tokenizer& tokenizer, const ChatLimits& limits);

std::unique_ptr<AnswerFormat> completion_format(FormatOptions options);

// A request for /v1/responses. Throws Error with a sentence for the client.
ApiRequest parse_response_request(const nlohmann::json& body, const ModelConfig& config,
                                  const Tokenizer& tokenizer, const ChatLimits& limits);

std::unique_ptr<AnswerFormat> response_format(FormatOptions options);

// A request for Anthropic's /v1/messages. Throws Error with a sentence for the client.
ApiRequest parse_messages_request(const nlohmann::json& body, const ModelConfig& config,
                                  const Tokenizer& tokenizer, const ChatLimits& limits);
// For /v1/messages/count_tokens: it needs no "max_tokens".
ApiRequest parse_count_request(const nlohmann::json& body, const ModelConfig& config,
                               const Tokenizer& tokenizer, const ChatLimits& limits);

std::unique_ptr<AnswerFormat> messages_format(FormatOptions options);

// A request for /generate. Its text or ids become Request::input_ids, with one run of pads for each image
// of "image_data" that place_images() then stretches. Throws Error with a sentence for the client.
ApiRequest parse_generate_request(const nlohmann::json& body, const ModelConfig& config,
                                  const Tokenizer& tokenizer, const ChatLimits& limits);

// Makes each run of pads as long as its image has tokens; decodes the images for that. Throws Error when
// runs and images disagree.
void place_images(Request& request, const ModelConfig& config, const Tokenizer& tokenizer);

std::unique_ptr<AnswerFormat> generate_format(FormatOptions options);

}  // namespace dvlm
