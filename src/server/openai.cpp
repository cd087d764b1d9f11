#include "server/openai.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"

namespace dvlm {

namespace {

using nlohmann::json;

void check_neutral_chat(const JsonObject& body) {
  check_neutral_sampling(body);
  check_neutral(body, "logit_bias", json::object(), "leave it out");
  check_neutral(body, "response_format", json{{"type", "text"}}, "answers are text");
  check_neutral(body, "tools", json::array(), "there are no tools");
  check_neutral(body, "tool_choice", "none", "there are no tools");
  check_neutral(body, "service_tier", "auto", "there is one");
  check_neutral(body, "store", false, "nothing is stored");
}

void read_logprobs(const JsonObject& body, DecodeOptions& decode) {
  const bool wanted = body.boolean("logprobs", false);
  const int64_t top = body.integer("top_logprobs", 0, kMaxLogprobs, 0);
  if (wanted)
    ask_logprobs(decode, top);
  else if (top > 0)
    fail("\"top_logprobs\" needs \"logprobs\": true");
}

class ChatFormat : public OpenAiFormat {
 public:
  explicit ChatFormat(FormatOptions options)
      : OpenAiFormat(std::move(options), "chat.completion", "chat.completion.chunk") {}

  json begin(int choice) override {
    return event(choice, {{"delta", {{"role", "assistant"}, {"content", ""}}}}, nullptr, nullptr);
  }

 private:
  json content(const RequestHandle::Update& update) const override {
    json delta = json::object();
    if (!update.text.empty() || !update.logprobs.empty()) delta["content"] = update.text;
    return {{"delta", std::move(delta)}};
  }
  json content(const Answer& answer) const override {
    return {{"message", {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}}}};
  }
  json logprobs(int, std::span<const TokenLogprob> tokens) override {
    return chat_logprobs(tokens, options_.tokens);
  }
};

}  // namespace

ApiRequest parse_chat_request(const json& given, const ModelConfig& config, const ChatLimits& limits) {
  const JsonObject body(given, "the request");
  check_known(given,
              "messages model max_tokens max_completion_tokens temperature top_p top_k seed stop "
              "stream stream_options user metadata dvlm n frequency_penalty presence_penalty "
              "repetition_penalty min_p logit_bias logprobs top_logprobs response_format tools "
              "tool_choice service_tier store",
              "");
  check_neutral_chat(body);
  ApiRequest out;
  DecodeOptions& decode = out.request.decode;
  out.request.conversation = read_conversation(body, limits);
  const char* key = body.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  decode.max_tokens = static_cast<int>(body.integer(key, 1, limits.max_tokens, limits.max_tokens));
  decode.block_size = config.block_size;
  read_sampling(body, decode.sampling);
  read_streaming(body, out);
  read_extensions(body, out);
  read_logprobs(body, decode);
  out.request.stop = read_stop(body);
  out.choices = static_cast<int>(body.integer("n", 1, kMaxChoices, 1));
  return out;
}

std::unique_ptr<AnswerFormat> chat_format(FormatOptions options) {
  return std::make_unique<ChatFormat>(std::move(options));
}

}  // namespace dvlm
