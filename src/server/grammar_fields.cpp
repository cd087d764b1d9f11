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

// In place of a list: its text.
constexpr const char* kOrdered = "as text";

// JSON that is valid, from `at` on: behind blanks, behind the value there.
size_t skip_blanks(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(" \t\r\n", at), text.size());
}

size_t skip_string(std::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return at + 1;
}

size_t skip_value(std::string_view text, size_t at) {
  int depth = 0;
  do {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
    if (depth == 0 && c != '}' && c != ']')  // a number, true, false or null
      at = std::min(text.find_first_of(",}] \t\r\n", at), text.size());
  } while (depth > 0 && at < text.size());
  return at;
}

// The text of a member of an object; of several of that name the last one, as parsers take it.
std::string_view raw_member(std::string_view object, std::string_view name) {
  std::string_view out;
  for (size_t at = skip_blanks(object, 0) + 1;;) {
    at = skip_blanks(object, at);
    if (at >= object.size() || object[at] == '}') return out;
    if (object[at] == ',') {
      ++at;
      continue;
    }
    const size_t key = at;
    at = skip_string(object, at);
    const bool same = json::parse(object.substr(key, at - key)) == name;
    const size_t value = skip_blanks(object, skip_blanks(object, at) + 1);  // behind the colon
    at = skip_value(object, value);
    if (same) out = object.substr(value, at - value);
  }
}

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
  out.fields.form = field;
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
  static const std::vector<std::string> kSchemas[] = {{"response_format", "json_schema", "schema"},
                                                      {"response_format", "schema"},
                                                      {"structured_outputs", "json"},
                                                      {"tools"}};
  for (const std::vector<std::string>& path : kSchemas) {
    json* value = &body;
    std::string_view raw = text;
    for (const std::string& key : path) {
      value = value->is_object() && value->contains(key) ? &(*value)[key] : nullptr;
      if (!value) break;
      raw = raw_member(raw, key);
    }
    if (!value || !value->is_structured()) continue;
    *value = path.size() == 1 ? json{{kOrdered, raw}} : json(raw);
  }
}

void read_tools(const ApiObject& body, const Tokenizer& tokenizer, ApiRequest& out) {
  const json* given = body.find("tools");
  ToolChoice choice{.text = true, .parallel = body.boolean("parallel_tool_calls", true)};
  const bool wanted = read_tool_choice(body, choice);
  std::vector<Tool> tools;
  if (given) {
    const bool as_text = given->is_object() && given->size() == 1 && given->contains(kOrdered);
    if (!as_text && !given->is_array()) body.refuse("tools", "\"tools\" must be a list");
    tools = at_field("tools", [&] {
      const std::string text = as_text ? (*given)[kOrdered].get<std::string>() : given->dump();
      return parse_tools(ordered_json::parse(text, nullptr, false));
    });
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
