// OpenAI's chat completions.
#include "server/apis.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/grammar_fields.h"
#include "server/request_log.h"
#include "server/tool_fields.h"
#include "text/tool_calls.h"

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
    {"frequency_penalty"},
    {"presence_penalty"},
    {"repetition_penalty"},
    {"min_p", "0", "leave it out or 0"},
    {"logit_bias"},
    {"response_format"},
    {"structured_outputs"},
    {"modalities", R"(["text"])", "answers are text"},
    {"audio", "", "answers are text"},
    {"verbosity", R"("medium")", "the model has one"},
    {"reasoning_effort", R"("none")", "the model does not reason apart from its answer"},
    {"prediction", "", "answers are not predicted"},
    {"tools"},
    {"tool_choice"},
    {"parallel_tool_calls"},
    {"functions", "[]", "give \"tools\""},
    {"function_call", R"("auto" or "none")", "give \"tool_choice\""},
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
  json content(int choice, const RequestHandle::Update& update) override {
    if (!options_.tools) return {{"delta", delta_of(update.text, !update.logprobs.empty())}};
    const ToolCallReader::Part part = readers_[choice].push(update.text);
    return {{"delta", with_calls(delta_of(part.content, !update.logprobs.empty()), part)}};
  }
  // The last event of a choice.
  json rest(int choice) override {
    if (!options_.tools) return {{"delta", json::object()}};
    const ToolCallReader::Part part = readers_[choice].finish();
    return {{"delta", with_calls(delta_of(part.content, false), part)}};
  }
  json content(const Answer& answer) override {
    json message = {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}};
    if (options_.tools) read_calls(answer.text, message);
    return {{"message", std::move(message)}};
  }
  bool called(const Answer& answer) override {
    ToolCallReader reader;
    reader.push(answer.text);
    return options_.tools && reader.called();
  }

  static json delta_of(const std::string& text, bool with_logprobs) {
    return text.empty() && !with_logprobs ? json::object() : json{{"content", text}};
  }

  static json with_calls(json delta, const ToolCallReader::Part& part) {
    for (const auto& [call, name, arguments] : part.calls) {
      json piece = {{"index", call}, {"function", {{"arguments", arguments}}}};
      if (!name.empty())
        piece.update({{"id", "call_" + random_hex()},
                      {"type", "function"},
                      {"function", {{"name", name}, {"arguments", ""}}}});
      delta["tool_calls"].push_back(std::move(piece));
    }
    return delta;
  }

  static void read_calls(const std::string& text, json& message) {
    ToolCallReader reader;
    const ToolCallReader::Part most = reader.push(text), rest = reader.finish();
    std::vector<ToolCall> calls;
    for (const auto* part : {&most, &rest})
      for (const auto& [call, name, arguments] : part->calls) {
        if (!name.empty()) calls.push_back({name, ""});
        if (!calls.empty()) calls.back().arguments += arguments;
      }
    const std::string content = most.content + rest.content;
    message["content"] = content.empty() && !calls.empty() ? json() : json(content);
    for (const ToolCall& call : calls)
      message["tool_calls"].push_back({{"id", "call_" + random_hex()},
                                       {"type", "function"},
                                       {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }

  json logprobs(int, std::span<const TokenLogprob> tokens) override {
    return chat_logprobs(tokens, options_.tokens);
  }

  std::map<int, ToolCallReader> readers_;  // by choice
};

}  // namespace

FieldRules chat_fields() {
  return kChatFields;
}

ApiRequest parse_chat_request(const json& given, const ModelConfig& config, const Tokenizer& tokenizer,
                              const ChatLimits& limits) {
  const ApiObject body(given);
  check_fields(body, chat_fields());
  ApiRequest out;
  DecodeOptions& decode = out.request.decode;
  out.request.conversation = read_conversation(body, limits);
  const int64_t old = body.integer("max_tokens", 0, limits.max_tokens, limits.max_tokens),
                most = body.integer("max_completion_tokens", 0, limits.max_tokens, old);
  if (body.has("max_tokens") && old != most)
    body.refuse("max_tokens",
                "\"max_tokens\" and \"max_completion_tokens\" are one thing and differ: give one");
  decode.max_tokens = static_cast<int>(most);
  decode.block_size = config.block_size;
  read_sampling(body, config, decode.sampling);
  read_streaming(body, out);
  read_extensions(body, out);
  read_answer_form(body, out);
  read_tools(body, tokenizer, ToolDialect::chat, out);
  read_logprobs(body, decode);
  read_stop(body, "stop", out.request);
  out.choices = static_cast<int>(body.integer("n", 1, kMaxChoices, 1));
  return out;
}

std::unique_ptr<AnswerFormat> chat_format(FormatOptions options) {
  return std::make_unique<ChatFormat>(std::move(options));
}

}  // namespace dvlm
