#include "server/grammar_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/tool_fields.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr const char* kAnyObject = R"({"type": "object"})";

constexpr FieldRule kFormFields[] = {{"type"}, {"json_schema"}, {"schema"}};
constexpr FieldRule kSchemaFields[] = {
    {"schema"},
    {"name", "any string", "it must be a string"},
    {"description", "any string", "it must be a string"},
    {"strict", "true or false", "it must be true or false"},  // every answer fits
};
constexpr FieldRule kFlatFormFields[] = {
    {"type"},
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
    {"disable_any_whitespace"},
    {"disable_additional_properties", "false", "write \"additionalProperties\": false where it is meant"},
};

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

std::string form_type(const ApiObject& form) {
  std::string type = form.text("type");
  if (type != "text" && type != "json_object" && type != "json_schema")
    form.refuse("type", "\"{}\" is \"{}\"; choose text, json_object or json_schema", form.path("type"),
                printable(type));
  return type;
}

// "json_object" may have a schema.
void set_json_form(const ApiObject& object, const std::string& field, bool any, ApiRequest& out) {
  const bool schema = !any || object.has("schema");
  std::string text = schema ? schema_text(object, "schema") : kAnyObject;
  set_form(out, field, GrammarKind::json_schema, std::move(text),
           out.json_spaces.value_or(schema ? JsonSpaces::usual : JsonSpaces::any));
}

void read_response_format(const json& given, ApiRequest& out) {
  constexpr const char* kField = "response_format";
  const ApiObject form(given, kField);
  check_fields(form, answer_form_fields());
  const std::string type = form_type(form);
  if (type == "text") return;
  if (type == "json_object") return set_json_form(form, kField, true, out);
  const json* schema = form.find("json_schema");
  if (!schema) form.refuse("json_schema", "the field \"response_format.json_schema\" is missing");
  const ApiObject inside(*schema, "response_format.json_schema");
  check_fields(inside, kSchemaFields);
  set_json_form(inside, kField, false, out);
}

void read_structured_outputs(const json& given, ApiRequest& out) {
  const ApiObject form(given, "structured_outputs");
  check_fields(form, structured_output_fields());
  const bool compact = form.boolean("disable_any_whitespace", false);
  if (compact && out.json_spaces.value_or(JsonSpaces::none) != JsonSpaces::none)
    form.refuse("disable_any_whitespace", "\"{}\" and \"dvlm.json_spaces\" disagree",
                form.path("disable_any_whitespace"));
  const JsonSpaces spaces = compact ? JsonSpaces::none : out.json_spaces.value_or(JsonSpaces::usual);
  const auto set = [&](const char* key, GrammarKind kind, std::string text) {
    set_form(out, form.path(key), kind, std::move(text), spaces);
  };
  if (form.has("json")) set("json", GrammarKind::json_schema, schema_text(form, "json"));
  if (form.boolean("json_object", false)) set("json_object", GrammarKind::json_schema, kAnyObject);
  if (form.has("regex")) set("regex", GrammarKind::regex, form.text("regex"));
  if (form.has("choice")) set("choice", GrammarKind::gbnf, choice_rules(form));
  if (form.has("grammar")) set("grammar", GrammarKind::gbnf, form.text("grammar"));
}

}  // namespace

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

FieldRules answer_form_fields() {
  return kFormFields;
}

FieldRules structured_output_fields() {
  return kStructuredFields;
}

void keep_schemas_as_text(json& body, std::string_view text) {
  static const std::vector<std::string> kSchemas[] = {{"response_format", "json_schema", "schema"},
                                                      {"response_format", "schema"},
                                                      {"text", "format", "schema"},
                                                      {"output_config", "format", "schema"},
                                                      {"structured_outputs", "json"},
                                                      {"tools"}};
  constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of UTF-8, which the parser passes over
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  for (const std::vector<std::string>& path : kSchemas) {
    json* value = &body;
    std::string_view raw = text;
    for (const std::string& key : path) {
      value = value->is_object() && value->contains(key) ? &(*value)[key] : nullptr;
      if (!value) break;
      raw = raw_member(raw, key);
    }
    if (!value || !value->is_structured()) continue;
    *value = path.size() == 1 ? list_as_text(raw) : json(raw);
  }
  if (body.is_object() && body.contains("messages"))
    keep_argument_order(body["messages"], raw_member(text, "messages"));
}

void read_answer_form(const ApiObject& body, ApiRequest& out) {
  if (const json* form = body.find("response_format")) read_response_format(*form, out);
  if (const json* form = body.find("structured_outputs")) read_structured_outputs(*form, out);
  check_spaces("response_format", out);
}

void check_spaces(const std::string& field, const ApiRequest& out) {
  const std::optional<GrammarSource>& form = out.request.grammar;
  if (out.json_spaces && (!form || form->kind != GrammarKind::json_schema))
    throw FieldError("dvlm.json_spaces",
                     fmt::format("\"dvlm.json_spaces\" needs a JSON schema in \"{}\"", field));
}

void read_flat_form(const json& given, const std::string& field, ApiRequest& out) {
  const ApiObject form(given, field);
  check_fields(form, kFlatFormFields);
  const std::string type = form_type(form);
  if (type != "text") return set_json_form(form, field, type == "json_object", out);
  if (form.has("schema")) form.refuse("schema", "\"{}\" needs the type json_schema", form.path("schema"));
}

void read_generate_form(const ApiObject& sampling, ApiRequest& out) {
  const JsonSpaces spaces = out.json_spaces.value_or(JsonSpaces::usual);
  const auto read = [&](const char* key, GrammarKind kind) {
    if (sampling.has(key)) set_form(out, sampling.path(key), kind, sampling.text(key), spaces);
  };
  read("json_schema", GrammarKind::json_schema);
  read("regex", GrammarKind::regex);
  read("ebnf", GrammarKind::gbnf);
  if (out.json_spaces && !sampling.has("json_schema"))
    throw FieldError("dvlm.json_spaces",
                     "\"dvlm.json_spaces\" needs a JSON schema in \"sampling_params.json_schema\"");
}

}  // namespace dvlm
