#include "grammar/plain_schemas.h"

#include <algorithm>
#include <cmath>
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
                                         "maxProperties",
                                         PlainSchemas::kOrder};

// Which type a keyword is about.
const std::pair<const char*, std::vector<const char*>> kAbout[] = {
    {"object", {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
    {"array", {"items", "prefixItems", "minItems", "maxItems"}},
    {"string", {"minLength", "maxLength", "pattern", "format"}},
    {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
};
const std::vector<std::string> kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

// About what copying it costs.
size_t size_of(const json& plain) {
  size_t out = 1 + plain.size();
  for (const json& value : plain) out += value.size();
  return out;
}

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

// A value as JSON Schema compares them: members have no order, and 1.0 is 1.
nlohmann::json unordered(const json& value) {
  if (value.is_number_float()) {
    constexpr double kExact = 9007199254740992.0;  // 2^53
    const auto number = value.get<double>();
    if (number == std::floor(number) && std::abs(number) <= kExact) return static_cast<int64_t>(number);
    return number;
  }
  if (!value.is_structured()) return nlohmann::json(value);
  nlohmann::json out = value.is_object() ? nlohmann::json::object() : nlohmann::json::array();
  for (const auto& [key, item] : value.items()) {
    if (value.is_object())
      out[key] = unordered(item);
    else
      out.push_back(unordered(item));
  }
  return out;
}

std::set<nlohmann::json> unordered_values(const json& values) {
  std::set<nlohmann::json> out;
  for (const json& value : values) out.insert(unordered(value));
  return out;
}

// Those of `values` that are among the others, too.
json common(const json& values, const json& others) {
  const std::set<nlohmann::json> known = unordered_values(others);
  json out = json::array();
  for (const json& value : values)
    if (known.count(unordered(value))) out.push_back(value);
  return out;
}

// What of enum and const values may be; null: anything.
json constants_of(const json& plain) {
  if (!plain.contains("const")) return plain.contains("enum") ? plain["enum"] : json();
  const json only = json::array({plain["const"]});
  return plain.contains("enum") ? common(only, plain["enum"]) : only;
}

// Types that the standard allows, whatever dvlm writes.
std::vector<std::string> declared_types(const json& plain) {
  return plain.contains("type") ? types_of(plain) : kTypes;
}

std::vector<std::string> common_types(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> out;
  for (const std::string& type : a) {
    if (has(b, type) || (type == "integer" && has(b, "number"))) out.push_back(type);
    if (type == "number" && !has(b, "number") && has(b, "integer")) out.emplace_back("integer");
  }
  return out;
}

// Types of values that dvlm would write by one of them and the standard allows by the other.
std::vector<std::string> shared_types(const json& a, const json& b) {
  std::vector<std::string> out = common_types(types_of(a), declared_types(b));
  const std::vector<std::string> more = common_types(types_of(b), declared_types(a));
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

// No value fits both, going by types and constants.
bool differ(const json& a, const json& b) {
  const json of_a = constants_of(a), of_b = constants_of(b);
  if (!of_a.is_null() && !of_b.is_null()) return common(of_a, of_b).empty();
  const auto fits = [](const json& constants, const json& other) {
    return std::ranges::any_of(constants,
                               [&](const json& value) { return is_of_type(value, declared_types(other)); });
  };
  if (!of_a.is_null()) return !fits(of_a, b);
  if (!of_b.is_null()) return !fits(of_b, a);
  return shared_types(a, b).empty();
}

struct KeywordKind {
  json::value_t type;
  const char* name;
  std::vector<const char*> keywords;  // whose values are of it
};
const KeywordKind kKinds[] = {
    {json::value_t::array, "a list", {"enum", "required", "prefixItems", "allOf", "anyOf", "oneOf"}},
    {json::value_t::object, "an object", {"properties"}},
    {json::value_t::string, "a string", {"pattern", "format", PlainSchemas::kOrder}}};

}  // namespace

void PlainSchemas::refuse_sentence(const std::string& sentence) {
  throw Error(sentence);
}

bool PlainSchemas::is_annotation(const std::string& keyword) {
  return kAnnotations.count(keyword) > 0 || (keyword.starts_with("x-") && keyword != kOrder);
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
  for (const auto& [type, name, keywords] : kKinds)
    for (const char* keyword : keywords)
      if (schema.contains(keyword) && schema[keyword].type() != type)
        refuse("\"", keyword, "\" must be ", name);
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
  spend(1);
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
    for (const json& y : b) {
      spend(size_of(x) + size_of(y));
      out.push_back(merged(x, y));
    }
  return out;
}

void PlainSchemas::spend(size_t work) const {
  constexpr size_t kMost = 400'000;
  if ((work_ += work) > kMost) refuse("its parts combine to too much: write fewer alternatives");
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
    out["enum"] = common(of_a, of_b);
  }
  const bool in_a = a.contains("properties"), in_b = b.contains("properties");
  const bool alone =
      (!in_a && !a.contains("additionalProperties")) || (!in_b && !b.contains("additionalProperties"));
  if ((in_a || in_b) && !alone) out["properties"] = merged_properties(a, b);
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
  } else if (keyword == "pattern" || keyword == "format") {
    json all = value.is_array() ? value : json::array({value});
    for (const json& one : also.is_array() ? also : json::array({also}))
      if (std::ranges::find(all, one) == all.end()) all.push_back(one);
    value = all;
  } else if (keyword == "items" || keyword == "additionalProperties") {
    value = both_of(value, also);
  } else {
    refuse("a value must fit two different \"", keyword, "\", which is not supported");
  }
}

json PlainSchemas::merged_properties(const json& a, const json& b) const {
  json out = json::object();
  const size_t names = size_of(a) + size_of(b);
  spend(names * names / 64);  // they are looked for one by one
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
  std::vector<std::vector<json>> plain;
  for (const json& schema : schemas) plain.push_back(of(schema, depth + 1));
  for (size_t i = 0; i < plain.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      for (const json& a : plain[i])
        for (const json& b : plain[j]) {
          spend(size_of(a) + size_of(b));
          if (!differ(a, b) && !differ_inside(a, b, depth))
            refuse(
                "a value might fit two schemas of \"oneOf\", which only its end would tell: write \"anyOf\", "
                "or give the schemas different types or a required property with different \"const\"");
        }
}

// Objects that both might be have a property that tells them apart.
bool PlainSchemas::differ_inside(const json& a, const json& b, int depth) {
  const std::vector<std::string> shared = shared_types(a, b);
  if (std::ranges::any_of(shared, [](const std::string& type) { return type != "object"; })) return false;
  const json in_a = a.value("properties", json::object()), in_b = b.value("properties", json::object());
  const json of_a = a.value("required", json::array()), of_b = b.value("required", json::array());
  for (const json& name : of_a) {
    if (!name.is_string() || std::ranges::find(of_b, name) == of_b.end()) continue;
    const auto key = name.get<std::string>();
    if (!in_a.contains(key) || !in_b.contains(key)) continue;
    const std::vector<json> one = of(in_a[key], depth + 1), two = of(in_b[key], depth + 1);
    if (std::ranges::all_of(one, [&](const json& x) {
          return std::ranges::all_of(two, [&](const json& y) { return differ(x, y); });
        }))
      return true;
  }
  return false;
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
  const bool whole = value.is_number() && value.get<double>() == std::floor(value.get<double>());
  if (whole) return has(types, "integer") || has(types, "number");
  return has(types, value.is_number() ? "number" : value.type_name());
}

}  // namespace dvlm
