#include "server/grammar_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "grammar/tool_grammar.h"

namespace dvlm {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr const char* kAnyObject = R"({"type": "object"})";

constexpr FieldRule kFormFields[] = {{"type"}, {"json_schema"}, {"schema"}};
constexpr FieldRule kSchemaFields[] = {
    {"schema"},
    {"name", "any string", "it must be a string"},
    {"description", "any string", "it must be a string"},
    {"strict", "true or false", "it must be true or false"},  // every answer fits
};
constexpr FieldRule kStructuredFields[] = {
    {"json"},
    {"json_object"},
    {"regex"},
    {"choice"},
    {"grammar"},
    {"whitespace_pattern", "", "give dvlm.json_spaces"},
    {"structural_tag", "", "give a grammar"},
    {"disable_fallback", "true or false", "it must be true or false"},
    {"disable_any_whitespace", "true or false", "it must be true or false"},
    {"disable_additional_properties", "true or false", "it must be true or false"},
};

std::string schema_text(const ApiObject& object, const char* key) {
  const json* schema = object.find(key);
  if (!schema) object.refuse(key, "the field \"{}\" is missing", object.path(key));
  return schema->is_string() ? schema->get<std::string>() : schema->dump();
}

std::string text_of(const ApiObject& object, const char* key) {
  const json* value = object.find(key);
  if (!value->is_string()) object.refuse(key, "\"{}\" must be a string", object.path(key));
  return value->get<std::string>();
}

// Texts of which the answer is one, as rules: what they contain is no pattern.
std::string choice_rules(const ApiObject& object) {
  const json* choices = object.find("choice");
  const auto is_text = [](const json& text) {
    return text.is_string() && !text.get_ref<const std::string&>().empty();
  };
  if (!choices->is_array() || choices->empty() || !std::ranges::all_of(*choices, is_text))
    object.refuse("choice", "\"{}\" must be a list of texts, none empty", object.path("choice"));
  std::string out = "root ::= ";
  for (const json& text : *choices) {
    out += out.ends_with(' ') ? "\"" : " | \"";
    for (const char c : text.get_ref<const std::string&>())
      out += static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'
                 ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c))
                 : std::string(1, c);
    out += '"';
  }
  return out;
}

void set_form(ApiRequest& out, const std::string& field, GrammarKind kind, std::string text,
              JsonSpaces spaces) {
  if (out.request.grammar)
    throw FieldError(field, fmt::format("\"{}\" is a second form of the same answer: give one", field));
  if (const DecoderInfo& info = info_of(out.request.decode.kind); !info.lossless)
    throw FieldError(
        field, fmt::format("\"{}\" is not supported with the decoder \"{}\", whose tokens are not chosen one "
                           "after the other; choose {}",
                           field, info.name, decoder_choice(true)));
  out.request.grammar = {kind, std::move(text), spaces};
  out.fields.form = field == "tools"                          ? "tools"
                    : field == "response_format"              ? "response_format"
                    : field.starts_with("structured_outputs") ? "structured_outputs"
                                                              : "sampling_params";
}

void read_response_format(const json& given, ApiRequest& out) {
  const ApiObject form(given, "response_format");
  check_fields(form, answer_form_fields());
  const json* type = form.find("type");
  if (!type || !type->is_string()) form.refuse("type", "\"response_format.type\" must be a string");
  const auto& name = type->get_ref<const std::string&>();
  if (name == "text") return;
  const auto set = [&](std::string schema, JsonSpaces spaces) {
    set_form(out, "response_format", GrammarKind::json_schema, std::move(schema), spaces);
  };
  if (name == "json_object") {
    if (form.has("schema"))
      return set(schema_text(form, "schema"), out.json_spaces.value_or(JsonSpaces::usual));
    return set(kAnyObject, out.json_spaces.value_or(JsonSpaces::any));
  }
  if (name != "json_schema")
    form.refuse("type", "\"response_format.type\" is \"{}\"; choose text, json_object or json_schema",
                printable(name));
  const json* schema = form.find("json_schema");
  if (!schema) form.refuse("json_schema", "the field \"response_format.json_schema\" is missing");
  const ApiObject inside(*schema, "response_format.json_schema");
  check_fields(inside, kSchemaFields);
  set(schema_text(inside, "schema"), out.json_spaces.value_or(JsonSpaces::usual));
}

void read_structured_outputs(const json& given, ApiRequest& out) {
  const ApiObject form(given, "structured_outputs");
  check_fields(form, structured_output_fields());
  const JsonSpaces spaces = out.json_spaces.value_or(JsonSpaces::usual);
  const auto set = [&](const char* key, GrammarKind kind, std::string text) {
    set_form(out, form.path(key), kind, std::move(text), spaces);
  };
  if (form.has("json")) set("json", GrammarKind::json_schema, schema_text(form, "json"));
  if (form.boolean("json_object", false)) set("json_object", GrammarKind::json_schema, kAnyObject);
  if (form.has("regex")) set("regex", GrammarKind::regex, text_of(form, "regex"));
  if (form.has("choice")) set("choice", GrammarKind::gbnf, choice_rules(form));
  if (form.has("grammar")) set("grammar", GrammarKind::gbnf, text_of(form, "grammar"));
}

// False: the model may call none.
bool read_tool_choice(const ApiObject& body, ToolChoice& choice) {
  const json* given = body.find("tool_choice");
  if (!given || *given == "auto") return true;
  if (*given == "none") return false;
  choice.text = false;
  if (*given == "required") return true;
  const json::json_pointer name("/function/name");
  const bool named = given->is_object() && given->value("type", json()) == "function" &&
                     given->contains(name) && (*given)[name].is_string();
  if (!named)
    body.refuse("tool_choice",
                "\"tool_choice\" must be auto, none, required or "
                "{{\"type\": \"function\", \"function\": {{\"name\"}}}}");
  choice.only = (*given)[name].get<std::string>();
  return true;
}

}  // namespace

FieldRules answer_form_fields() {
  return kFormFields;
}

FieldRules structured_output_fields() {
  return kStructuredFields;
}

void keep_schemas_as_text(json& body, std::string_view text) {
  static const char* const kSchemas[] = {"/response_format/json_schema/schema", "/response_format/schema",
                                         "/structured_outputs/json"};
  ordered_json ordered;
  if (body.is_object() && body.contains("tools") && body["tools"].is_array()) {
    ordered = ordered_json::parse(text);
    body["tools"] = ordered["tools"].dump();
  }
  for (const char* pointer : kSchemas) {
    const json::json_pointer at(pointer);
    if (!body.is_object() || !body.contains(at) || !body[at].is_structured()) continue;
    if (ordered.is_null()) ordered = ordered_json::parse(text);
    body[at] = ordered.at(ordered_json::json_pointer(pointer)).dump();
  }
}

void read_tools(const ApiObject& body, const Tokenizer& tokenizer, ApiRequest& out) {
  const json* given = body.find("tools");
  ToolChoice choice{.text = true, .parallel = body.boolean("parallel_tool_calls", true)};
  const bool wanted = read_tool_choice(body, choice);
  if (!given || *given == "[]" || *given == json::array()) {
    if (!choice.text) body.refuse("tool_choice", "\"tool_choice\" needs \"tools\"");
    return;
  }
  const std::vector<Tool> tools = at_field("tools", [&] {
    return parse_tools(ordered_json::parse(given->is_string() ? given->get<std::string>() : given->dump()));
  });
  if (!wanted) return;
  if (!choice.only.empty() && std::ranges::count(tools, choice.only, &Tool::name) == 0)
    body.refuse("tool_choice", "\"tool_choice\": there is no tool {}", printable(choice.only));
  const auto begin = tokenizer.find(kToolCall), end = tokenizer.find(kToolCallEnd);
  if (!begin || !end)
    body.refuse("tools", "\"tools\" are not supported: the model's tokenizer has no {}", kToolCall);
  set_form(out, "tools", GrammarKind::tool_calls, tool_grammar_text(tools, choice, *begin, *end),
           JsonSpaces::usual);
  out.request.chat_template.tools = tools;
}

void read_answer_form(const ApiObject& body, ApiRequest& out) {
  if (const json* form = body.find("response_format")) read_response_format(*form, out);
  if (const json* form = body.find("structured_outputs")) read_structured_outputs(*form, out);
  const bool spaces =
      out.json_spaces && (!out.request.grammar || out.request.grammar->kind != GrammarKind::json_schema);
  if (spaces)
    throw FieldError("dvlm.json_spaces", "\"dvlm.json_spaces\" needs a JSON schema in \"response_format\"");
}

void read_generate_form(const ApiObject& sampling, ApiRequest& out) {
  const JsonSpaces spaces = out.json_spaces.value_or(JsonSpaces::usual);
  const auto read = [&](const char* key, GrammarKind kind) {
    if (sampling.has(key)) set_form(out, sampling.path(key), kind, text_of(sampling, key), spaces);
  };
  read("json_schema", GrammarKind::json_schema);
  read("regex", GrammarKind::regex);
  read("ebnf", GrammarKind::gbnf);
  if (out.json_spaces && !sampling.has("json_schema"))
    throw FieldError("dvlm.json_spaces",
                     "\"dvlm.json_spaces\" needs a JSON schema in \"sampling_params.json_schema\"");
}

}  // namespace dvlm
