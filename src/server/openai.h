// OpenAI's chat completions as JSON: requests in, answers out. No HTTP here.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

struct ChatRequest {
  Request request;
  bool stream = false, include_usage = false;
};

struct ChatLimits {
  int max_tokens = 4096;   // of an answer; also what a request gets that names no number
  size_t messages = 1000;  // of a conversation
  size_t pictures = 64;
};

// A request for /v1/chat/completions. What dvlm has beyond OpenAI's fields stands under "dvlm": decoder,
// block_size, branches, threshold, sub_block, top_k, min_pixels, max_pixels. Pictures must be data URLs.
// Throws Error with a sentence for the client for anything that is malformed, out of range, or would be
// ignored.
ChatRequest parse_chat_request(const nlohmann::json& body, const ModelConfig& config,
                               const ChatLimits& limits);

// One answer under way: its id, when it was asked for (seconds since 1970) and of which model.
struct ChatIdentity {
  std::string id, model;
  int64_t created = 0;
};

nlohmann::json usage_json(const Answer& answer);
nlohmann::json chat_completion(const ChatIdentity& identity, const Answer& answer,
                               const DecodeOptions& decode);
nlohmann::json chat_chunk(const ChatIdentity& identity, const nlohmann::json& delta,
                          const char* finish_reason = nullptr);
const char* openai_finish_reason(const Answer& answer);  // "stop" or "length"

// OpenAI's shape of an error. `type`: "invalid_request_error", "authentication_error", "rate_limit_error" or
// "server_error".
nlohmann::json openai_error(const std::string& message, const char* type);

}  // namespace dvlm
