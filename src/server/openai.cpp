// OpenAI's chat completions.
#include "server/apis.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/grammar_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr FieldRule kChatFields[] = {
    {"messages"},
    {"model"},
    {"max_tokens"},
    {"max_completion_tokens"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"seed"},
    {"stop"},
    {"stream"},
    {"stream_options"},
    {"n"},
    {"logprobs"},
    {"top_logprobs"},
    {"dvlm"},
    {"frequency_penalty", "0", "leave it out or 0"},
    {"presence_penalty", "0", "leave it out or 0"},
    {"repetition_penalty", "1", "leave it out or 1"},
    {"min_p", "0", "leave it out or 0"},
    {"logit_bias", "{}", "leave it out"},
    {"response_format"},
    {"structured_outputs"},
    {"modalities", R"(["text"])", "answers are text"},
    {"audio", "", "answers are text"},
    {"verbosity", R"("medium")", "the model has one"},
    {"reasoning_effort", R"("none")", "the model does not reason apart from its answer"},
    {"prediction", "", "answers are not predicted"},
    {"tools", "[]", "there are no tools"},
    {"tool_choice", R"("auto" or "none")", "there are no tools"},
    {"parallel_tool_calls", "true or false", "it must be true or false"},
    {"functions", "[]", "there are no tools"},
    {"function_call", R"("auto" or "none")", "there are no tools"},
    {"web_search_options", "", "nothing is searched"},
    {"service_tier", R"("auto" or "default")", "there is one"},
    {"store", "false", "nothing is stored"},
    {"metadata", "any object", "it must be an object"},
    {"user", "any string", "it must be a string"},
    {"safety_identifier", "any string", "it must be a string"},
    {"prompt_cache_key", "any string", "it must be a string"},
    {"prompt_cache_retention", "any string", "it must be a string"},
};

void read_logprobs(const ApiObject& body, DecodeOptions& decode) {
  const bool wanted = body.boolean("logprobs", false);
  const int64_t top = body.integer("top_logprobs", 0, kMaxLogprobs, 0);
  if (wanted)
    ask_logprobs(decode, top);
  else if (top > 0)
    body.refuse("top_logprobs", "\"top_logprobs\" needs \"logprobs\": true");
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

FieldRules chat_fields() {
  return kChatFields;
}

ApiRequest parse_chat_request(const json& given, const ModelConfig& config, const ChatLimits& limits) {
  const ApiObject body(given);
  check_fields(body, chat_fields());
  ApiRequest out;
  DecodeOptions& decode = out.request.decode;
  out.request.conversation = read_conversation(body, limits);
  const char* key = body.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  decode.max_tokens = static_cast<int>(body.integer(key, 1, limits.max_tokens, limits.max_tokens));
  decode.block_size = config.block_size;
  read_sampling(body, decode.sampling);
  read_streaming(body, out);
  read_extensions(body, out);
  read_answer_form(body, out);
  read_logprobs(body, decode);
  out.request.stop = read_stop(body);
  out.choices = static_cast<int>(body.integer("n", 1, kMaxChoices, 1));
  return out;
}

std::unique_ptr<AnswerFormat> chat_format(FormatOptions options) {
  return std::make_unique<ChatFormat>(std::move(options));
}

}  // namespace dvlm
