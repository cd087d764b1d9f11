// What the fields of all APIs have in common: read strictly, with a sentence for whatever would be ignored.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/json.h"
#include "core/error.h"
#include "engine/engine.h"

namespace dvlm {

struct ChatLimits {
  int max_tokens = 4096;   // of an answer; also what a chat request gets that names no number
  size_t messages = 1000;  // of a conversation
};

// Something is wrong with one field of a request.
class FieldError : public Error {
 public:
  FieldError(std::string field, const std::string& sentence) : Error(sentence), field_(std::move(field)) {}
  const std::string& field() const { return field_; }  // "dvlm.decoder"

 private:
  std::string field_;
};

// Calls `read` and makes an Error of it one of the field.
template <class Read>
auto at_field(const std::string& field, const Read& read) {
  try {
    return read();
  } catch (const FieldError&) {
    throw;
  } catch (const Error& error) {
    throw FieldError(field, error.what());
  }
}

// One JSON object of a request. Its Errors are FieldErrors.
class ApiObject {
 public:
  // `name`: of the field that holds it; empty for the request itself.
  explicit ApiObject(const nlohmann::json& object, const std::string& name = "");

  const nlohmann::json* find(const char* key) const { return object_.find(key); }  // null: absent or null
  bool has(const char* key) const { return object_.has(key); }
  // As those of JsonObject.
  int64_t integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> fallback = {}) const;
  double number(const char* key, double low, double high, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, std::optional<std::string> fallback = {}) const;

  const nlohmann::json& value() const { return json_; }
  std::string path(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }
  template <class... Args>
  [[noreturn]] void refuse(const std::string& key, fmt::format_string<Args...> format, Args&&... args) const {
    throw FieldError(path(key), fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const nlohmann::json& json_;
  const std::string name_;
  const JsonObject object_;
};

// One field of an API and what is done with it.
struct FieldRule {
  const char* name;
  // What changes nothing here and is accepted, since clients send it unasked: JSON values, "any string", "any
  // object" or "true or false", with " or " between them. Empty: nothing is. Null: the field is read.
  const char* accepted = nullptr;
  const char* why = "";  // other values are refused
};
using FieldRules = std::span<const FieldRule>;

// Fails for a field that has no rule, and for a value that its rule refuses. A null field counts as absent.
void check_fields(const ApiObject& body, FieldRules rules);

// Which fields a request has its prompt, its pictures, and the form of its answer in.
struct PromptFields {
  const char *text = "messages", *pictures = "messages";
  std::string form = "response_format";
};

// A request for text, of whichever API.
struct ApiRequest {
  Request request;  // of the first choice; the next ones differ in their seeds
  PromptFields fields;
  int choices = 1;
  bool stream = false, include_usage = false;
  std::optional<JsonSpaces> json_spaces;
  bool progress = false;  // events tell how far pictures and prompt are read
  std::string echo;       // goes before the answer
  std::string asked;      // JSON: what of the request its answer repeats
  // SGLang's: whether logprobs name their tokens.
  bool token_texts = false;
};

inline constexpr int kMaxChoices = 16, kMaxLogprobs = 20;

// "messages". Nobody has looked at its images yet: admit_images() must.
Conversation read_conversation(const ApiObject& body, const ChatLimits& limits);

// "temperature", "top_p", "top_k" (-1, as others write it, and 0: all), "seed", the penalties and
// "logit_bias".
void read_sampling(const ApiObject& body, const ModelConfig& config, SamplingOptions& sampling);
// `key`: of the texts that end an answer.
void read_stop(const ApiObject& body, const char* key, Request& request);
// "stream" and "stream_options".
void read_streaming(const ApiObject& body, ApiRequest& out);
// "dvlm": what dvlm has beyond the API's fields.
void read_extensions(const ApiObject& body, ApiRequest& out);
// Fails for what only events of other APIs carry: "dvlm.passes" and "dvlm.progress".
void refuse_observers(const ApiRequest& asked);
// Sets decode.logprobs; fails for a decoder whose tokens have none.
void ask_logprobs(DecodeOptions& decode, int64_t alternatives);

// A list of ids that the model has.
std::vector<TokenId> read_token_ids(const nlohmann::json& list, const char* name, const ModelConfig& config);

// The fields of all that a request may send: for tests and documents.
FieldRules chat_fields();
FieldRules completion_fields();
FieldRules generate_fields();
FieldRules generate_sampling_fields();  // "sampling_params" of /generate
FieldRules response_fields();
FieldRules response_text_fields();  // "text" of responses
FieldRules message_fields();        // Anthropic's messages
FieldRules stream_fields();         // "stream_options"
FieldRules extension_fields();      // "dvlm"

}  // namespace dvlm
