// What the fields of all APIs have in common: read strictly, with a sentence for whatever would be ignored.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "checkpoint/json.h"
#include "engine/engine.h"

namespace dvlm {

struct ChatLimits {
  int max_tokens = 4096;   // of an answer; also what a chat request gets that names no number
  size_t messages = 1000;  // of a conversation
};

// A request for text, of whichever API.
struct ApiRequest {
  Request request;  // of the first choice; the next ones differ in their seeds
  int choices = 1;
  bool stream = false, include_usage = false;
  std::string echo;  // goes before the answer
  // SGLang's: whether logprobs name their tokens.
  bool token_texts = false;
};

inline constexpr int kMaxChoices = 16, kMaxLogprobs = 20;

// Fails for a key that is not among the `known`, which spaces separate, unless it is null. `where` begins the
// sentence ("dvlm: ").
void check_known(const nlohmann::json& body, const std::string& known, const char* where);

// Fails for a field that is there with a value other than the one that changes nothing: clients send those
// unasked.
void check_neutral(const JsonObject& body, const char* key, const nlohmann::json& value, const char* why);

// Fails for penalties and min_p that would change something.
void check_neutral_sampling(const JsonObject& fields);

// "messages". Nobody has looked at its images yet: admit_images() must.
Conversation read_conversation(const JsonObject& body, const ChatLimits& limits);

// "temperature", "top_p", "top_k" (-1, as others write it, and 0: all) and "seed".
void read_sampling(const JsonObject& body, SamplingOptions& sampling);
std::vector<std::string> read_stop(const JsonObject& body);
// "stream" and "stream_options".
void read_streaming(const JsonObject& body, ApiRequest& out);
// "dvlm": what dvlm has beyond the API's fields.
void read_extensions(const JsonObject& body, ApiRequest& out);
// Sets decode.logprobs; fails for a decoder whose tokens have none.
void ask_logprobs(DecodeOptions& decode, int64_t alternatives);

// A list of ids that the model has.
std::vector<TokenId> read_token_ids(const nlohmann::json& list, const char* name, const ModelConfig& config);

}  // namespace dvlm
