// OpenAI's responses: one answer, as items. Nothing is stored, so the whole conversation stands in "input".
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/json.h"
#include "server/apis.h"
#include "server/block_format.h"
#include "server/errors.h"
#include "server/grammar_fields.h"
#include "server/tool_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr FieldRule kResponseFields[] = {
    {"input"},
    {"instructions"},
    {"model"},
    {"max_output_tokens"},
    {"temperature"},
    {"top_p"},
    {"stream"},
    {"stream_options"},
    {"text"},
    {"tools"},
    {"tool_choice"},
    {"parallel_tool_calls"},
    {"metadata"},
    {"dvlm"},
    {"top_logprobs", "0", "ask for them with chat completions"},
    {"reasoning"},
    {"truncation", R"("disabled")", "prompts are not shortened"},
    {"include", "[]", "there is nothing to add"},
    {"store", "false", "nothing is stored: send \"store\": false, or leave it out"},
    {"previous_response_id", "", "nothing is stored: send the conversation as \"input\""},
    {"conversation", "", "nothing is stored: send the conversation as \"input\""},
    {"background", "false", "answers are waited for"},
    {"prompt", "", "nothing is stored: send the conversation as \"input\""},
    {"max_tool_calls", "", "tools are called by who asks"},
    {"service_tier", R"("auto" or "default")", "there is one"},
    {"user", "any string", "it must be a string"},
    {"safety_identifier", "any string", "it must be a string"},
    {"prompt_cache_key", "any string", "it must be a string"},
    {"prompt_cache_retention", "any string", "it must be a string"},
};

constexpr FieldRule kResponseTextFields[] = {
    {"format"},
    {"verbosity", R"("medium")", "the model has one"},
};

constexpr FieldRule kMessageItemFields[] = {{"type"}, {"role"}, {"content"}, {"id"}, {"status"}, {"phase"}};
constexpr FieldRule kCallItemFields[] = {{"type"}, {"call_id"}, {"name"},   {"arguments"},
                                         {"id"},   {"status"},  {"caller"}, {"namespace"}};
constexpr FieldRule kResultItemFields[] = {{"type"}, {"call_id"}, {"output"}, {"id"}, {"status"}, {"caller"}};
constexpr FieldRule kTextPartFields[] = {{"type"},
                                         {"text"},
                                         {"annotations", "[]", "sources are not kept"},
                                         {"logprobs", "[]", "they are not read"}};
constexpr FieldRule kRefusalFields[] = {{"type"}, {"refusal"}};
constexpr const char* kNoReasoning = "the model does not reason apart from its answer";
constexpr FieldRule kReasoningFields[] = {{"effort", R"("none")", kNoReasoning},
                                          {"summary", "", kNoReasoning},
                                          {"generate_summary", "", kNoReasoning}};
constexpr FieldRule kImagePartFields[] = {
    {"type"}, {"image_url"}, {"detail"}, {"file_id", "", "no files are stored: send an \"image_url\""}};

// A part of a message as chat completions have it.
json chat_part(const json& given, const std::string& name) {
  const ApiObject part(given, name);
  const std::string type = part.text("type");
  if (type == "input_text" || type == "output_text") {
    check_fields(part, kTextPartFields);
    return {{"type", "text"}, {"text", part.text("text")}};
  }
  if (type == "input_image") {
    check_fields(part, kImagePartFields);
    return {{"type", "image_url"},
            {"image_url", {{"url", part.text("image_url")}, {"detail", part.text("detail", "auto")}}}};
  }
  if (type == "refusal") {
    check_fields(part, kRefusalFields);
    return {{"type", "text"}, {"text", part.text("refusal")}};
  }
  part.refuse("type", "\"{}\" is \"{}\"; expected input_text, input_image or output_text", part.path("type"),
              printable(type));
}

json chat_content(const ApiObject& item, const char* key) {
  const json* content = item.find(key);
  if (!content || (!content->is_string() && !content->is_array()))
    item.refuse(key, "\"{}\" must be a string or a list", item.path(key));
  if (content->is_string()) return *content;
  json out = json::array();
  for (const json& part : *content)
    out.push_back(chat_part(part, fmt::format("{}[{}]", item.path(key), out.size())));
  return out;
}

// Adds an item to messages. A call belongs to the message of the assistant before it.
void add_item(const json& given, const std::string& name, json& messages) {
  const ApiObject item(given, name);
  const std::string type = item.text("type", "message");
  if (type == "message") {
    check_fields(item, kMessageItemFields);
    const std::string role = item.text("role");
    if (role == "tool")
      item.refuse("role", "\"{}\": what a tool gave is an item function_call_output", item.path("role"));
    messages.push_back({{"role", role}, {"content", chat_content(item, "content")}});
  } else if (type == "function_call") {
    check_fields(item, kCallItemFields);
    if (messages.empty() || messages.back()["role"] != "assistant")
      messages.push_back({{"role", "assistant"}});
    messages.back()["tool_calls"].push_back(
        {{"id", item.text("call_id", "")},
         {"type", "function"},
         {"function", {{"name", item.text("name")}, {"arguments", item.text("arguments")}}}});
  } else if (type == "function_call_output") {
    check_fields(item, kResultItemFields);
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", item.text("call_id", "")},
                        {"content", chat_content(item, "output")}});
  } else {
    item.refuse("type", "\"{}\" is \"{}\"; expected message, function_call or function_call_output",
                item.path("type"), printable(type));
  }
}

Conversation read_input(const ApiObject& body, const ChatLimits& limits) {
  json messages = json::array();
  if (body.has("instructions"))
    messages.push_back({{"role", "system"}, {"content", body.text("instructions")}});
  const json* input = body.find("input");
  if (!input || (!input->is_string() && !input->is_array()))
    body.refuse("input", "\"input\" must be a string or a list of items");
  if (input->is_array() && input->size() > limits.messages)
    body.refuse("input", "the input has {} items, but at most {} are allowed", input->size(),
                limits.messages);
  if (input->is_string()) messages.push_back({{"role", "user"}, {"content", *input}});
  if (input->is_array())
    for (size_t i = 0; i < input->size(); ++i) add_item((*input)[i], fmt::format("input[{}]", i), messages);
  return at_field("input", [&] { return parse_messages(messages); });
}

json text_or_null(const std::string& text) {
  return text.empty() ? json() : json(text);
}

class ResponseFormat : public BlockFormat {
 public:
  using BlockFormat::BlockFormat;

 private:
  json event(const char* type, json content) {
    content["type"] = type;
    content["sequence_number"] = sequence_++;
    return content;
  }

  json begun() override {
    const json response = response_json("in_progress", json::array());
    return {event("response.created", {{"response", response}}),
            event("response.in_progress", {{"response", response}})};
  }

  json opened(size_t index, const AnswerBlock& block) override {
    json out = {event("response.output_item.added",
                      {{"output_index", index}, {"item", item_json(block, "in_progress")}})};
    if (!block.call)
      out.push_back(event("response.content_part.added", place(index, block, {{"part", part_json("")}})));
    return out;
  }

  json added(size_t index, const AnswerBlock& block, const std::string& piece) override {
    if (block.call)
      return {event("response.function_call_arguments.delta",
                    {{"item_id", block.id}, {"output_index", index}, {"delta", piece}})};
    return {event("response.output_text.delta",
                  place(index, block, {{"delta", piece}, {"logprobs", json::array()}}))};
  }

  json closed(size_t index, const AnswerBlock& block, bool whole) override {
    json out = json::array();
    if (block.call) {
      out.push_back(event(
          "response.function_call_arguments.done",
          {{"item_id", block.id}, {"output_index", index}, {"name", block.name}, {"arguments", block.text}}));
    } else {
      out.push_back(event("response.output_text.done",
                          place(index, block, {{"text", block.text}, {"logprobs", json::array()}})));
      out.push_back(
          event("response.content_part.done", place(index, block, {{"part", part_json(block.text)}})));
    }
    out.push_back(
        event("response.output_item.done",
              {{"output_index", index}, {"item", item_json(block, whole ? "completed" : "incomplete")}}));
    return out;
  }

  json ended(const Answer& answer) override {
    const char* type = answer.finish == FinishReason::stop ? "response.completed" : "response.incomplete";
    return {event(type, {{"response", complete(answer)}})};
  }

  json complete(const Answer& answer) override {
    const bool whole = answer.finish == FinishReason::stop;
    json output = json::array();
    for (const AnswerBlock& block : blocks()) output.push_back(item_json(block, "completed"));
    if (!whole && !output.empty()) output.back()["status"] = "incomplete";
    json out = response_json(whole ? "completed" : "incomplete", std::move(output));
    if (!whole) out["incomplete_details"] = {{"reason", "max_output_tokens"}};
    out["usage"] = {{"input_tokens", answer.prompt_tokens},
                    {"input_tokens_details", {{"cached_tokens", answer.reused_tokens}}},
                    {"output_tokens", answer.tokens.size()},
                    {"output_tokens_details", {{"reasoning_tokens", 0}}},
                    {"total_tokens", static_cast<size_t>(answer.prompt_tokens) + answer.tokens.size()}};
    const Answer* const answers[] = {&answer};
    out["dvlm"] = statistics_json(answers, options_.decode);
    return out;
  }

  json failure(const ApiError& error) override {
    return event("error", {{"code", error.code ? json(error.code) : json()},
                           {"message", error.message},
                           {"param", text_or_null(error.param)}});
  }

  // Where a piece of text belongs: to the only part of its item.
  static json place(size_t index, const AnswerBlock& block, json content) {
    content.update({{"item_id", block.id}, {"output_index", index}, {"content_index", 0}});
    return content;
  }

  static json part_json(const std::string& text) {
    return {
        {"type", "output_text"}, {"text", text}, {"annotations", json::array()}, {"logprobs", json::array()}};
  }

  static json item_json(const AnswerBlock& block, const char* status) {
    if (block.call)
      return {{"type", "function_call"}, {"id", block.id},          {"call_id", block.call_id},
              {"name", block.name},      {"arguments", block.text}, {"status", status}};
    json content = json::array();
    if (!block.text.empty()) content.push_back(part_json(block.text));
    return {{"type", "message"},
            {"id", block.id},
            {"role", "assistant"},
            {"content", std::move(content)},
            {"status", status}};
  }

  // With what the request says about its answer, as OpenAI gives it back.
  json response_json(const char* status, json output) const {
    json out = json::parse(options_.asked);
    out.update({{"id", options_.identity.id},
                {"object", "response"},
                {"created_at", options_.identity.created},
                {"model", options_.identity.model},
                {"status", status},
                {"output", std::move(output)},
                {"error", nullptr},
                {"incomplete_details", nullptr},
                {"previous_response_id", nullptr},
                {"store", false},
                {"truncation", "disabled"},
                {"usage", nullptr}});
    return out;
  }

  int64_t sequence_ = 0;
};

// What an answer gives back of its request.
std::string asked_json(const ApiObject& body, const DecodeOptions& decode) {
  const json tools = body.find("tools") ? json::parse(text_of_list(*body.find("tools"))) : json::array();
  const auto given = [&](const char* key, const json& otherwise) {
    const json* value = body.find(key);
    return value ? *value : otherwise;
  };
  json text = given("text", json::object());
  if (!text.contains("format")) text["format"] = {{"type", "text"}};
  if (const json::json_pointer schema("/format/schema"); text.contains(schema) && text[schema].is_string())
    text[schema] = at_field("text.format.schema",
                            [&] { return parse_json(text[schema].get<std::string>(), "the schema"); });
  return json{{"instructions", given("instructions", nullptr)},
              {"max_output_tokens", given("max_output_tokens", nullptr)},
              {"metadata", given("metadata", json::object())},
              {"parallel_tool_calls", given("parallel_tool_calls", true)},
              {"temperature", decode.sampling.temperature},
              {"top_p", decode.sampling.top_p},
              {"text", std::move(text)},
              {"tool_choice", given("tool_choice", "auto")},
              {"tools", tools}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

FieldRules response_fields() {
  return kResponseFields;
}

FieldRules response_text_fields() {
  return kResponseTextFields;
}

ApiRequest parse_response_request(const json& given, const ModelConfig& config, const Tokenizer& tokenizer,
                                  const ChatLimits& limits) {
  const ApiObject body(given);
  check_fields(body, response_fields());
  ApiRequest out;
  out.fields = {"input", "input", "text.format"};
  DecodeOptions& decode = out.request.decode;
  out.request.conversation = read_input(body, limits);
  decode.max_tokens =
      static_cast<int>(body.integer("max_output_tokens", 1, limits.max_tokens, limits.max_tokens));
  decode.block_size = config.block_size;
  if (const json* metadata = body.find("metadata"); metadata && !metadata->is_object())
    body.refuse("metadata", "\"metadata\" must be an object");
  read_sampling(body, config, decode.sampling);
  read_streaming(body, out);
  read_extensions(body, out);
  refuse_observers(out);
  if (const json* reasoning = body.find("reasoning"))
    check_fields(ApiObject(*reasoning, "reasoning"), kReasoningFields);
  if (const json* text = body.find("text")) {
    const ApiObject inside(*text, "text");
    check_fields(inside, response_text_fields());
    if (const json* form = inside.find("format")) read_flat_form(*form, "text.format", out);
  }
  check_spaces("text.format", out);
  read_tools(body, tokenizer, ToolDialect::responses, out);
  out.asked = asked_json(body, decode);
  return out;
}

std::unique_ptr<AnswerFormat> response_format(FormatOptions options) {
  return std::make_unique<ResponseFormat>(std::move(options));
}

}  // namespace dvlm
