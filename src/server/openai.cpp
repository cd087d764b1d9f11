#include "server/openai.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"

namespace dvlm {

namespace {

using nlohmann::json;

void check_neutral_fields(const JsonObject& body) {
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

class ChatFormat : public AnswerFormat {
 public:
  explicit ChatFormat(FormatOptions options) : options_(std::move(options)) {}

  json begin(int choice) override {
    return chunk(choice, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
  }

  json piece(int choice, const RequestHandle::Update& update) override {
    if (update.text.empty() && update.logprobs.empty() && update.passes.empty()) return nullptr;
    json delta = json::object();
    if (!update.text.empty() || !update.logprobs.empty()) delta["content"] = update.text;
    json out = chunk(choice, std::move(delta), nullptr,
                     update.logprobs.empty() ? json() : chat_logprobs(update.logprobs, options_.tokens));
    if (!update.passes.empty()) out["dvlm"]["passes"] = passes_json(update.passes, options_.tokens);
    return out;
  }

  json end(int choice, const Answer& answer) override {
    return chunk(choice, json::object(), openai_finish_reason(answer), nullptr);
  }

  json last(Answers answers) override {
    if (!options_.include_usage) return nullptr;
    json out = header("chat.completion.chunk");
    out["choices"] = json::array();
    out["usage"] = usage_json(answers);
    out["dvlm"] = statistics_json(answers, options_.decode);
    return out;
  }

  json whole(Answers answers) override {
    json out = header("chat.completion");
    json& choices = out["choices"] = json::array();
    for (const Answer* answer : answers)
      choices.push_back(
          {{"index", choices.size()},
           {"message", {{"role", "assistant"}, {"content", answer->text}, {"refusal", nullptr}}},
           {"logprobs",
            options_.decode.logprobs < 0 ? json() : chat_logprobs(answer->logprobs, options_.tokens)},
           {"finish_reason", openai_finish_reason(*answer)}});
    out["usage"] = usage_json(answers);
    out["dvlm"] = statistics_json(answers, options_.decode);
    return out;
  }

 private:
  json header(const char* object) const {
    return {{"id", options_.identity.id},
            {"object", object},
            {"created", options_.identity.created},
            {"model", options_.identity.model}};
  }

  json chunk(int choice, json delta, json finish_reason, json logprobs) const {
    json out = header("chat.completion.chunk");
    out["choices"] = json::array({{{"index", choice},
                                   {"delta", std::move(delta)},
                                   {"logprobs", std::move(logprobs)},
                                   {"finish_reason", std::move(finish_reason)}}});
    return out;
  }

  const FormatOptions options_;
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
  check_neutral_fields(body);
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
