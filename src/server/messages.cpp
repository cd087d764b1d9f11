// Anthropic's messages: one answer, as blocks.
#include <nlohmann/json.hpp>
#include <utility>

#include "server/apis.h"
#include "server/block_format.h"
#include "server/errors.h"
#include "server/grammar_fields.h"
#include "server/tool_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr FieldRule kMessagesFields[] = {
    {"messages"},
    {"system"},
    {"model"},
    {"max_tokens"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"stop_sequences"},
    {"stream"},
    {"tools"},
    {"tool_choice"},
    {"output_config"},
    {"dvlm"},
    {"thinking", R"({"type": "disabled"})", "the model does not reason apart from its answer"},
    {"service_tier", R"("auto" or "standard_only")", "there is one"},
    {"metadata", "any object", "it must be an object"},
    {"cache_control", "any object", "it must be an object"},  // prompts are kept unasked
    {"container", "", "nothing is run here"},
    {"mcp_servers", "[]", "nothing is run here"},
    {"inference_geo", "any string", "it must be a string"},
};

constexpr FieldRule kOutputFields[] = {{"format"}, {"effort", "", "the model has one"}};
constexpr FieldRule kMessageFields[] = {{"role"}, {"content"}};
constexpr FieldRule kTextBlockFields[] = {{"type"},
                                          {"text"},
                                          {"cache_control", "any object", "it must be an object"},
                                          {"citations", "[]", "sources are not kept"}};
constexpr FieldRule kImageBlockFields[] = {
    {"type"}, {"source"}, {"cache_control", "any object", "it must be an object"}};
constexpr FieldRule kSourceFields[] = {{"type"}, {"media_type"}, {"data"}, {"url"}};
constexpr FieldRule kCallBlockFields[] = {
    {"type"},  {"id"}, {"name"}, {"input"}, {"cache_control", "any object", "it must be an object"},
    {"caller"}};
constexpr FieldRule kResultBlockFields[] = {{"type"},
                                            {"tool_use_id"},
                                            {"content"},
                                            {"is_error"},
                                            {"cache_control", "any object", "it must be an object"}};

json chat_image(const ApiObject& block) {
  check_fields(block, kImageBlockFields);
  const json* given = block.find("source");
  if (!given) block.refuse("source", "the field \"{}\" is missing", block.path("source"));
  const ApiObject source(*given, block.path("source"));
  check_fields(source, kSourceFields);
  const std::string type = source.text("type");
  for (const auto& [key, of] : {std::pair{"url", "url"}, {"data", "base64"}, {"media_type", "base64"}})
    if (source.has(key) && type != of)
      source.refuse(key, "\"{}\" is for sources of the type {}", source.path(key), of);
  if (type != "base64" && type != "url")
    source.refuse("type", "\"{}\" is \"{}\"; expected base64 or url", source.path("type"), printable(type));
  const std::string url =
      type == "url" ? source.text("url")
                    : fmt::format("data:{};base64,{}", source.text("media_type", ""), source.text("data"));
  return {{"type", "image_url"}, {"image_url", {{"url", url}}}};
}

json chat_text(const ApiObject& block) {
  check_fields(block, kTextBlockFields);
  return {{"type", "text"}, {"text", block.text("text")}};
}

// Calls `add` for every block of a content that is a string or a list of them.
template <class Add>
void for_blocks(const ApiObject& object, const char* key, const Add& add) {
  const json* content = object.find(key);
  if (!content || (!content->is_string() && !content->is_array()))
    object.refuse(key, "\"{}\" must be a string or a list", object.path(key));
  if (content->is_string())
    return add(ApiObject(json{{"type", "text"}, {"text", *content}}, object.path(key)));
  size_t number = 0;
  for (const json& block : *content) add(ApiObject(block, fmt::format("{}[{}]", object.path(key), number++)));
}

[[noreturn]] void refuse_block(const ApiObject& block, std::string_view expected) {
  block.refuse("type", "\"{}\" is \"{}\"; expected {}", block.path("type"), printable(block.text("type")),
               expected);
}

// What a tool gave, as a message of its own.
json tool_message(const ApiObject& block) {
  check_fields(block, kResultBlockFields);
  json parts = json::array();
  if (block.has("content"))
    for_blocks(block, "content", [&](const ApiObject& part) {
      if (part.text("type") != "text") refuse_block(part, "text");
      parts.push_back(chat_text(part));
    });
  if (block.boolean("is_error", false))  // the template has no place for it
    parts.insert(parts.begin(), json{{"type", "text"}, {"text", "Error: "}});
  return {{"role", "tool"}, {"tool_call_id", block.text("tool_use_id")}, {"content", std::move(parts)}};
}

// A message of a user may hold results of tools: these come first, each as a message.
void add_message(const json& given, const std::string& name, json& messages) {
  const ApiObject message(given, name);
  check_fields(message, kMessageFields);
  const std::string role = message.text("role");
  const bool user = role == "user";
  if (const json* content = message.find("content"); content && content->is_array() && content->empty())
    message.refuse("content", "\"{}\" is empty", message.path("content"));
  if (!user && role != "assistant")
    message.refuse("role", "\"{}\" is \"{}\"; expected user or assistant", message.path("role"),
                   printable(role));
  json parts = json::array(), calls = json::array();
  for_blocks(message, "content", [&](const ApiObject& block) {
    const std::string type = block.text("type");
    if (type == "text") return parts.push_back(chat_text(block));
    if (user && type == "image") return parts.push_back(chat_image(block));
    if (user && type == "tool_result") return messages.push_back(tool_message(block));
    if (user || type != "tool_use")
      refuse_block(block, user ? "text, image or tool_result" : "text or tool_use");
    check_fields(block, kCallBlockFields);
    const json* input = block.find("input");
    if (input && !input->is_object()) block.refuse("input", "\"{}\" must be an object", block.path("input"));
    calls.push_back(
        {{"id", block.text("id")},
         {"type", "function"},
         {"function", {{"name", block.text("name")}, {"arguments", input ? text_of_list(*input) : "{}"}}}});
  });
  json out = {{"role", role}, {"content", std::move(parts)}};
  if (!calls.empty()) out["tool_calls"] = std::move(calls);
  if (!out["content"].empty() || out.contains("tool_calls")) messages.push_back(std::move(out));
}

Conversation read_messages(const ApiObject& body, const ChatLimits& limits) {
  json messages = json::array();
  if (body.has("system")) {
    json parts = json::array();
    for_blocks(body, "system", [&](const ApiObject& part) { parts.push_back(chat_text(part)); });
    messages.push_back({{"role", "system"}, {"content", std::move(parts)}});
  }
  const json* given = body.find("messages");
  if (!given || !given->is_array() || given->empty())
    body.refuse("messages", "\"messages\" must be a list with at least one message");
  if (given->size() > limits.messages)
    body.refuse("messages", "the conversation has {} messages, but at most {} are allowed", given->size(),
                limits.messages);
  for (size_t i = 0; i < given->size(); ++i) {
    add_message((*given)[i], fmt::format("messages[{}]", i), messages);
    if (messages.size() > limits.messages)  // results of tools are messages
      body.refuse("messages", "the conversation has more than {} messages and results", limits.messages);
  }
  if (!messages.empty() && messages.back()["role"] == "assistant")
    body.refuse("messages", "the last message is the assistant's: answers that have begun are not continued");
  return at_field("messages", [&] { return parse_messages(messages); });
}

class MessageFormat : public BlockFormat {
 public:
  using BlockFormat::BlockFormat;

 private:
  static json event(const char* type, json content) {
    content["type"] = type;
    return content;
  }

  // How many tokens the prompt has is known at the end.
  json begun() override {
    json message = message_json(json::array());
    message["usage"] = {{"input_tokens", 0}, {"output_tokens", 0}};
    return {event("message_start", {{"message", std::move(message)}})};
  }

  json opened(size_t index, const AnswerBlock& block) override {
    json empty = block.call ? block_json(block, json::object()) : json{{"type", "text"}, {"text", ""}};
    return {event("content_block_start", {{"index", index}, {"content_block", std::move(empty)}})};
  }

  json added(size_t index, const AnswerBlock& block, const std::string& piece) override {
    json delta = block.call ? json{{"type", "input_json_delta"}, {"partial_json", piece}}
                            : json{{"type", "text_delta"}, {"text", piece}};
    return {event("content_block_delta", {{"index", index}, {"delta", std::move(delta)}})};
  }

  json closed(size_t index, const AnswerBlock&, bool) override {
    return {event("content_block_stop", {{"index", index}})};
  }

  json ended(const Answer& answer) override {
    json end = end_json(answer);
    json usage = usage_json(answer);
    return {event("message_delta", {{"delta", std::move(end)}, {"usage", std::move(usage)}}),
            event("message_stop", json::object())};
  }

  json complete(const Answer& answer) override {
    json content = json::array();
    for (const AnswerBlock& block : blocks()) {
      json input = block.call ? json::parse(block.text, nullptr, false) : json();
      if (!block.call)
        content.push_back({{"type", "text"}, {"text", block.text}});
      else if (input.is_object())  // else it was cut off, and half an input would be none
        content.push_back(block_json(block, std::move(input)));
    }
    json out = message_json(std::move(content));
    out.update(end_json(answer));
    out["usage"] = usage_json(answer);
    const Answer* const answers[] = {&answer};
    out["dvlm"] = statistics_json(answers, options_.decode);
    return out;
  }

  json failure(const ApiError& error) override { return messages_error_json(error); }

  json end_json(const Answer& answer) const {
    const std::string stop = answer.finish == FinishReason::stop ? matched_stop(answer, options_) : "";
    const char* reason = answer.finish != FinishReason::stop ? "max_tokens"
                         : !stop.empty()                     ? "stop_sequence"
                         : called()                          ? "tool_use"
                                                             : "end_turn";
    return {{"stop_reason", reason}, {"stop_sequence", stop.empty() ? json() : json(stop)}};
  }

  // Tokens that earlier answers had read are no input.
  static json usage_json(const Answer& answer) {
    return {{"input_tokens", answer.prompt_tokens - answer.reused_tokens},
            {"cache_read_input_tokens", answer.reused_tokens},
            {"cache_creation_input_tokens", 0},
            {"output_tokens", answer.tokens.size()}};
  }

  static json block_json(const AnswerBlock& call, json input) {
    return {{"type", "tool_use"}, {"id", call.call_id}, {"name", call.name}, {"input", std::move(input)}};
  }

  json message_json(json content) const {
    return {{"id", options_.identity.id},    {"type", "message"},
            {"role", "assistant"},           {"model", options_.identity.model},
            {"content", std::move(content)}, {"stop_reason", nullptr},
            {"stop_sequence", nullptr}};
  }
};

// `max_tokens`: of a request that names none, which may be nothing.
ApiRequest read_request(const json& given, const ModelConfig& config, const Tokenizer& tokenizer,
                        const ChatLimits& limits, std::optional<int64_t> max_tokens) {
  const ApiObject body(given);
  check_fields(body, kMessagesFields);
  ApiRequest out;
  out.fields = {"messages", "messages", "output_config.format"};
  DecodeOptions& decode = out.request.decode;
  out.request.conversation = read_messages(body, limits);
  decode.max_tokens = static_cast<int>(body.integer("max_tokens", 1, limits.max_tokens, max_tokens));
  decode.block_size = config.block_size;
  read_sampling(body, config, decode.sampling);
  out.stream = body.boolean("stream", false);
  read_extensions(body, out);
  refuse_observers(out);
  if (const json* output = body.find("output_config")) {
    const ApiObject inside(*output, "output_config");
    check_fields(inside, kOutputFields);
    if (const json* form = inside.find("format")) read_flat_form(*form, "output_config.format", out);
  }
  check_spaces("output_config.format", out);
  read_tools(body, tokenizer, ToolDialect::messages, out);
  read_stop(body, "stop_sequences", out.request);
  return out;
}

}  // namespace

FieldRules message_fields() {
  return kMessagesFields;
}

ApiRequest parse_messages_request(const json& body, const ModelConfig& config, const Tokenizer& tokenizer,
                                  const ChatLimits& limits) {
  return read_request(body, config, tokenizer, limits, std::nullopt);
}

ApiRequest parse_count_request(const json& body, const ModelConfig& config, const Tokenizer& tokenizer,
                               const ChatLimits& limits) {
  return read_request(body, config, tokenizer, limits, limits.max_tokens);
}

std::unique_ptr<AnswerFormat> messages_format(FormatOptions options) {
  return std::make_unique<MessageFormat>(std::move(options));
}

}  // namespace dvlm
