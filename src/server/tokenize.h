// vLLM's /tokenize and /detokenize as JSON. No HTTP here.
#pragma once
#include <functional>
#include <mutex>
#include <nlohmann/json_fwd.hpp>

#include "server/request_fields.h"
#include "server/token_json.h"

namespace dvlm {

// How the images of "messages" are had.
struct ImageAccess {
  std::function<void(Request&)> admit;  // see admit_images
  std::mutex& decoding;                 // held while they are decoded
};

// {"prompt"} or {"messages"} -> {"count", "max_model_len", "tokens", "token_strs"}. Images are decoded to
// count their tokens. Throws Error with a sentence for the client.
nlohmann::json tokenize(const nlohmann::json& body, const ModelConfig& config, const TokenWriter& tokens,
                        const ChatLimits& limits, const ImageAccess& images);

// {"tokens"} -> {"prompt"}, special tokens included. Throws Error with a sentence for the client.
nlohmann::json detokenize(const nlohmann::json& body, const ModelConfig& config, const TokenWriter& tokens);

}  // namespace dvlm
