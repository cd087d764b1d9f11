#include "grammar/plain_schemas.h"

#include <algorithm>
#include <set>

#include "core/error.h"

namespace dvlm {

using json = nlohmann::ordered_json;

namespace {

const std::set<std::string> kAnnotations = {
    "$schema",          "$id",           "$anchor",       "$comment",     "$defs",
    "definitions",      "title",         "default",       "description",  "examples",
    "deprecated",       "readOnly",      "writeOnly",     "example",      "contentEncoding",
    "contentMediaType", "contentSchema", "discriminator", "externalDocs", "xml"};
const std::set<std::string> kCombining = {"$ref", "allOf", "anyOf", "oneOf"};
const std::set<std::string> kLimiting = {"type",
                                         "enum",
                                         "const",
                                         "minimum",
                                         "maximum",
                                         "exclusiveMinimum",
                                         "exclusiveMaximum",
                                         "multipleOf",
                                         "minLength",
                                         "maxLength",
                                         "pattern",
                                         "format",
                                         "items",
                                         "prefixItems",
                                         "minItems",
                                         "maxItems",
                                         "properties",
                                         "required",
                                         "additionalProperties",
                                         "minProperties",
                                         "maxProperties"};

// Which type a keyword is about.
const std::pair<const char*, std::vector<const char*>> kAbout[] = {
    {"object", {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
    {"array", {"items", "prefixItems", "minItems", "maxItems"}},
    {"string", {"minLength", "maxLength", "pattern", "format"}},
    {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
};
const std::vector<std::string> kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

json both_of(const json& a, const json& b) {
  return json{{"allOf", json::array({a, b})}};
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// The schema with this "$anchor".
const json* anchored(const json& inside, const std::string& name) {
  if (inside.is_object() && inside.contains("$anchor") && inside["$anchor"] == name) return &inside;
  if (!inside.is_structured()) return nullptr;
  for (const json& part : inside)
    if (const json* found = anchored(part, name)) return found;
  return nullptr;
}

// What of enum and const values may be; null: anything.
json constants_of(const json& plain) {
  if (plain.contains("const")) return json::array({plain["const"]});
  return plain.contains("enum") ? plain["enum"] : json();
}

}  // namespace

void PlainSchemas::refuse_sentence(const std::string& sentence) {
  throw Error(sentence);
}

bool PlainSchemas::is_annotation(const std::string& keyword) {
  return kAnnotations.count(keyword) > 0 || keyword.starts_with("x-");
}

void PlainSchemas::check(const json& schema) const {
  if (!schema.is_object())
    refuse("a schema must be an object, true or false, not ", printable(schema.dump()));
  for (const auto& [keyword, value] : schema.items()) {
    if (is_annotation(keyword) || kCombining.count(keyword) || kLimiting.count(keyword)) continue;
    if (keyword == "nullable")
      refuse("the keyword \"nullable\" is not JSON Schema's: write \"type\": [\"string\", \"null\"]");
    refuse("the keyword \"", printable(keyword), "\" is not supported");
  }
}

const json& PlainSchemas::target(const std::string& reference) const {
  if (!reference.starts_with('#')) refuse("\"$ref\": \"", printable(reference), "\" leads out of the schema");
  std::string pointer;
  for (size_t i = 1; i < reference.size(); ++i) {  // a fragment of an address
    if (reference[i] != '%' || i + 2 >= reference.size()) {
      pointer += reference[i];
      continue;
    }
    pointer += static_cast<char>(std::strtol(reference.substr(i + 1, 2).c_str(), nullptr, 16));
    i += 2;
  }
  if (!pointer.empty() && pointer[0] != '/') {
    if (const json* named = anchored(document_, pointer)) return *named;
    refuse("\"$ref\": \"", printable(reference), "\" names nothing in the schema");
  }
  try {
    return document_.at(json::json_pointer(pointer));
  } catch (const json::exception&) {
    refuse("\"$ref\": \"", printable(reference), "\" names nothing in the schema");
  }
}

std::vector<json> PlainSchemas::of(const json& schema, int depth) {
  constexpr int kDeepest = 64;
  if (depth > kDeepest) refuse("schemas refer to each other without end");
  if (schema.is_boolean()) return schema.get<bool>() ? std::vector{json::object()} : std::vector<json>{};
  check(schema);
  json own = json::object();
  for (const auto& [keyword, value] : schema.items())
    if (kLimiting.count(keyword)) own[keyword] = value;
  std::vector<json> out = {own};
  if (schema.contains("$ref")) {
    if (!schema["$ref"].is_string()) refuse("\"$ref\" must be a string");
    out = both(out, of(target(schema["$ref"].get<std::string>()), depth + 1));
  }
  if (schema.contains("allOf") && !schema["allOf"].is_array()) refuse("\"allOf\" must be a list of schemas");
  if (schema.contains("allOf"))
    for (const json& part : schema["allOf"]) out = both(out, of(part, depth + 1));
  if (schema.contains("anyOf")) out = both(out, any(schema["anyOf"], "anyOf", depth));
  if (schema.contains("oneOf")) {
    check_exclusive(schema["oneOf"], depth);
    out = both(out, any(schema["oneOf"], "oneOf", depth));
  }
  return out;
}

std::vector<json> PlainSchemas::any(const json& schemas, const char* keyword, int depth) {
  if (!schemas.is_array() || schemas.empty()) refuse("\"", keyword, "\" must be a list of schemas");
  std::vector<json> out;
  for (const json& schema : schemas)
    for (json& plain : of(schema, depth + 1)) out.push_back(std::move(plain));
  return out;
}

std::vector<json> PlainSchemas::both(const std::vector<json>& a, const std::vector<json>& b) const {
  constexpr size_t kMost = 256;
  if (a.size() * b.size() > kMost) refuse("allOf and anyOf combine to more than 256 alternatives");
  std::vector<json> out;
  for (const json& x : a)
    for (const json& y : b) out.push_back(merged(x, y));
  return out;
}

json PlainSchemas::merged(const json& a, const json& b) const {
  json out = a;
  for (const auto& [keyword, value] : b.items())
    if (!out.contains(keyword))
      out[keyword] = value;
    else
      merge_keyword(out, b, keyword);
  if (a.contains("type") && b.contains("type")) {
    json types = json::array();
    const std::vector<std::string> in_a = types_of({{"type", a["type"]}}),
                                   in_b = types_of({{"type", b["type"]}});
    for (const std::string& type : kTypes) {
      const bool integer = type == "integer";
      const auto allows = [&](const auto& in) { return has(in, type) || (integer && has(in, "number")); };
      if (allows(in_a) && allows(in_b) && !(integer && has(in_a, "number") && has(in_b, "number")))
        types.push_back(type);
    }
    out["type"] = types;
  }
  const json of_a = constants_of(a), of_b = constants_of(b);
  if (!of_a.is_null() && !of_b.is_null()) {
    out.erase("const");
    out["enum"] = json::array();
    for (const json& value : of_a)
      if (std::ranges::find(of_b, value) != of_b.end()) out["enum"].push_back(value);
  }
  if (a.contains("properties") || b.contains("properties")) out["properties"] = merged_properties(a, b);
  if (a.contains("prefixItems") || b.contains("prefixItems")) out["prefixItems"] = merged_items(a, b);
  return out;
}

void PlainSchemas::merge_keyword(json& into, const json& other, const std::string& keyword) const {
  static const std::set<std::string> kLeast = {"minimum", "exclusiveMinimum", "minLength", "minItems",
                                               "minProperties"};
  static const std::set<std::string> kMost = {"maximum", "exclusiveMaximum", "maxLength", "maxItems",
                                              "maxProperties"};
  static const std::set<std::string> kApart = {"type", "enum", "const", "properties", "prefixItems"};
  json& value = into[keyword];
  const json& also = other[keyword];
  if (kApart.count(keyword) || value == also) return;
  if (kLeast.count(keyword) || kMost.count(keyword)) {
    if (!value.is_number() || !also.is_number()) refuse("\"", keyword, "\" must be a number");
    if (kLeast.count(keyword) ? also > value : also < value) value = also;
  } else if (keyword == "required") {
    for (const json& name : also)
      if (std::ranges::find(value, name) == value.end()) value.push_back(name);
  } else if (keyword == "items" || keyword == "additionalProperties") {
    value = both_of(value, also);
  } else {
    refuse("a value must fit two different \"", keyword, "\", which is not supported");
  }
}

json PlainSchemas::merged_properties(const json& a, const json& b) const {
  json out = json::object();
  const auto add = [&](const json& from, const json& other) {
    const json own = from.value("properties", json::object()),
               named = other.value("properties", json::object());
    for (const auto& [name, schema] : own.items()) {
      if (out.contains(name)) continue;
      if (named.contains(name))
        out[name] = both_of(schema, named[name]);
      else
        out[name] =
            other.contains("additionalProperties") ? both_of(schema, other["additionalProperties"]) : schema;
    }
  };
  add(a, b);
  add(b, a);
  return out;
}

json PlainSchemas::merged_items(const json& a, const json& b) const {
  const json in_a = a.value("prefixItems", json::array()), in_b = b.value("prefixItems", json::array());
  json out = json::array();
  const auto at = [](const json& plain, const json& prefix, size_t i) {
    return i < prefix.size() ? prefix[i] : plain.value("items", json(true));
  };
  for (size_t i = 0; i < std::max(in_a.size(), in_b.size()); ++i)
    out.push_back(both_of(at(a, in_a, i), at(b, in_b, i)));
  return out;
}

// Text is written from left to right: nobody can know later that a second one fits, too. So any two must
// differ in their types, their constants, or a required property that is constant in both.
void PlainSchemas::check_exclusive(const json& schemas, int depth) {
  const auto differ = [&](const json& a, const json& b) {
    const json of_a = constants_of(a), of_b = constants_of(b);
    if (!of_a.is_null() && !of_b.is_null())
      return std::ranges::none_of(
          of_a, [&](const json& value) { return std::ranges::find(of_b, value) != of_b.end(); });
    const std::vector<std::string> in_a = types_of(a), in_b = types_of(b);
    const auto fits = [](const json& constants, const std::vector<std::string>& types) {
      return std::ranges::any_of(constants, [&](const json& value) { return is_of_type(value, types); });
    };
    if (!of_a.is_null()) return !fits(of_a, in_b);
    if (!of_b.is_null()) return !fits(of_b, in_a);
    return std::ranges::none_of(in_a, [&](const std::string& type) {
      return has(in_b, type) || (type == "integer" && has(in_b, "number")) ||
             (type == "number" && has(in_b, "integer"));
    });
  };
  const auto differ_inside = [&](const json& a, const json& b) {
    const json in_a = a.value("properties", json::object()), in_b = b.value("properties", json::object());
    for (const json& name : a.value("required", json::array())) {
      const json& also = b.value("required", json::array());
      if (!name.is_string() || std::ranges::find(also, name) == also.end()) continue;
      const auto key = name.get<std::string>();
      if (!in_a.contains(key) || !in_b.contains(key)) continue;
      const std::vector<json> one = of(in_a[key], depth + 1), two = of(in_b[key], depth + 1);
      if (std::ranges::all_of(one, [&](const json& x) {
            return std::ranges::all_of(two, [&](const json& y) { return differ(x, y); });
          }))
        return true;
    }
    return false;
  };
  if (!schemas.is_array()) return;
  for (size_t i = 0; i < schemas.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      for (const json& a : of(schemas[i], depth + 1))
        for (const json& b : of(schemas[j], depth + 1))
          if (!differ(a, b) && !differ_inside(a, b))
            refuse(
                "a value might fit two schemas of \"oneOf\", which only its end would tell: write \"anyOf\", "
                "or give "
                "the schemas different types or a required property with different \"const\"");
}

std::vector<std::string> types_of(const json& plain) {
  std::vector<std::string> out;
  if (plain.contains("type")) {
    const json types = plain["type"].is_array() ? plain["type"] : json::array({plain["type"]});
    for (const json& type : types) {
      if (!type.is_string() || !has(kTypes, type.get<std::string>()))
        fail("the JSON schema: there is no type {}", printable(type.dump()));
      out.push_back(type.get<std::string>());
    }
  } else {
    for (const auto& [type, keywords] : kAbout)
      if (std::ranges::any_of(keywords, [&](const char* keyword) { return plain.contains(keyword); }))
        out.emplace_back(type);
    if (out.empty()) out = kTypes;
  }
  if (has(out, "number")) std::erase(out, "integer");
  return out;
}

bool is_of_type(const json& value, const std::vector<std::string>& types) {
  if (value.is_number_integer()) return has(types, "integer") || has(types, "number");
  return has(types, value.is_number() ? "number" : value.type_name());
}

}  // namespace dvlm
