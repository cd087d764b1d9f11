#include "server/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/json.h"
#include "grammar/tool_grammar.h"
#include "server/grammar_fields.h"

namespace dvlm {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kOrdered = "as text";

constexpr FieldRule kChatChoiceFields[] = {{"type"}, {"function"}}, kNameFields[] = {{"name"}},
                    kResponsesChoiceFields[] = {{"type"}, {"name"}};
constexpr FieldRule kMessagesChoiceFields[] = {{"type"}, {"name"}, {"disable_parallel_tool_use"}};

// A tool as chat completions have it. `name`: of the field.
ordered_json chat_tool(const ordered_json& given, ToolDialect dialect, size_t number) {
  const bool responses = dialect == ToolDialect::responses;
  const char *type = responses ? "function" : "custom", *schema = responses ? "parameters" : "input_schema";
  const auto refuse = [&](const std::string& why) { fail("tool {}: {}", number, why); };
  if (!given.is_object()) refuse("it must be an object");
  const ordered_json named = given.value("type", ordered_json());
  if (!named.is_null() && named != type)
    refuse(
        fmt::format("its type is {}, but there are no tools here but \"{}\"", printable(named.dump()), type));
  for (const auto& [key, value] : given.items()) {
    if (value.is_null()) continue;
    const bool cached = key == "cache_control" && !responses;  // prompts are kept unasked
    const bool known =
        key == "type" || key == "name" || key == "description" || key == schema || key == "strict";
    if (!known && !cached) refuse(fmt::format("the field \"{}\" is not known", printable(key)));
  }
  ordered_json function = ordered_json::object();
  for (const char* key : {"name", "description", schema, "strict"})
    if (given.contains(key) && !given[key].is_null())
      function[key == schema ? "parameters" : key] = given[key];
  return {{"type", "function"}, {"function", std::move(function)}};
}

ordered_json chat_tools(const ordered_json& given, ToolDialect dialect) {
  if (dialect == ToolDialect::chat) return given;
  ordered_json out = ordered_json::array();
  for (const ordered_json& tool : given) out.push_back(chat_tool(tool, dialect, out.size() + 1));
  return out;
}

// What OpenAI's two APIs share. False: the model may call none.
bool read_openai_choice(const ApiObject& body, ToolDialect dialect, ToolChoice& choice) {
  choice.parallel = body.boolean("parallel_tool_calls", true);
  const json* given = body.find("tool_choice");
  if (!given || *given == "auto") return true;
  if (*given == "none") return false;
  choice.text = false;
  if (*given == "required") return true;
  const bool chat = dialect == ToolDialect::chat;
  if (!given->is_object() || given->value("type", json()) != "function" ||
      (chat && !given->contains("function")))
    body.refuse("tool_choice", "\"tool_choice\" must be auto, none, required or {}",
                chat ? R"({"type": "function", "function": {"name"}})" : R"({"type": "function", "name"})");
  const ApiObject object(*given, "tool_choice");
  check_fields(object, chat ? FieldRules(kChatChoiceFields) : FieldRules(kResponsesChoiceFields));
  const ApiObject named(chat ? given->at("function") : *given, chat ? "tool_choice.function" : "tool_choice");
  if (chat) check_fields(named, kNameFields);
  choice.only = named.text("name");
  return true;
}

bool read_messages_choice(const ApiObject& body, ToolChoice& choice) {
  const json* given = body.find("tool_choice");
  if (!given) return true;
  const ApiObject object(*given, "tool_choice");
  check_fields(object, kMessagesChoiceFields);
  choice.parallel = !object.boolean("disable_parallel_tool_use", false);
  const std::string type = object.text("type");
  if (type != "tool" && object.has("name")) object.refuse("name", "\"tool_choice.name\" needs the type tool");
  if (type == "auto") return true;
  if (type == "none") return false;
  if (type != "any" && type != "tool")
    object.refuse("type", "\"tool_choice.type\" is \"{}\"; choose auto, any, tool or none", printable(type));
  choice.text = false;
  if (type == "tool") choice.only = object.text("name");
  return true;
}

}  // namespace

json list_as_text(std::string_view text) {
  return {{kOrdered, text}};
}

void keep_argument_order(json& messages, std::string_view text) {
  std::optional<ordered_json> ordered;  // most have none of these, and are not read twice
  const auto keep = [&](json& object, const json::json_pointer& place, const char* key, bool text_alone) {
    if (!object.is_object() || !object.contains(key) || !object[key].is_object()) return;
    if (!ordered) ordered = parse_ordered(text, "the messages");
    const std::string value = ordered->at(place / key).dump();
    object[key] = text_alone ? json(value) : list_as_text(value);
  };
  const auto each_of = [](json& list, const auto& use) {
    if (list.is_array())
      for (size_t i = 0; i < list.size(); ++i)
        if (list[i].is_object()) use(list[i], i);
  };
  each_of(messages, [&](json& message, size_t i) {
    const json::json_pointer here = json::json_pointer() / i;
    if (message.contains("tool_calls"))
      each_of(message["tool_calls"], [&](json& call, size_t k) {
        if (call.contains("function"))
          keep(call["function"], here / "tool_calls" / k / "function", "arguments", true);
      });
    if (message.contains("content"))
      each_of(message["content"], [&](json& block, size_t k) {
        if (block.value("type", json()) == "tool_use") keep(block, here / "content" / k, "input", false);
      });
  });
}

std::string text_of_list(const json& list) {
  const bool as_text =
      list.is_object() && list.size() == 1 && list.contains(kOrdered) && list[kOrdered].is_string();
  return as_text ? list[kOrdered].get<std::string>() : list.dump();
}

void read_tools(const ApiObject& body, const Tokenizer& tokenizer, ToolDialect dialect, ApiRequest& out) {
  ToolChoice choice;
  const bool wanted = dialect == ToolDialect::messages ? read_messages_choice(body, choice)
                                                       : read_openai_choice(body, dialect, choice);
  std::vector<Tool> tools;
  if (const json* given = body.find("tools")) {
    if (!json::parse(text_of_list(*given), nullptr, false).is_array())
      body.refuse("tools", "\"tools\" must be a list");
    const ordered_json list =
        at_field("tools", [&] { return parse_ordered(text_of_list(*given), "the list of tools"); });
    tools = at_field("tools", [&] { return parse_tools(chat_tools(list, dialect)); });
  }
  if (tools.empty() && !choice.text) body.refuse("tool_choice", "\"tool_choice\" needs \"tools\"");
  if (tools.empty() || !wanted) return;
  if (!choice.only.empty() && std::ranges::count(tools, choice.only, &Tool::name) == 0)
    body.refuse("tool_choice", "\"tool_choice\": there is no tool {}", printable(choice.only));
  const auto begin = tokenizer.find(kToolCall), end = tokenizer.find(kToolCallEnd);
  if (!begin || !end)
    body.refuse("tools", "\"tools\" are not supported: the model's tokenizer has no {}", kToolCall);
  set_form(out, "tools", GrammarKind::tool_calls, tool_grammar_text(tools, choice, *begin, *end),
           JsonSpaces::usual);
  out.request.chat_template.tools = tools;
}

}  // namespace dvlm
