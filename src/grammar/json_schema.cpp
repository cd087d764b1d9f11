#include "grammar/json_schema.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "checkpoint/json.h"
#include "core/error.h"
#include "grammar/automaton.h"
#include "grammar/common_texts.h"
#include "grammar/formats.h"
#include "grammar/json_text.h"
#include "grammar/plain_schemas.h"
#include "grammar/regex.h"

namespace dvlm {

using json = nlohmann::ordered_json;

namespace {

constexpr int kMaxCount = 100'000;  // of characters, items and properties

class SchemaReader {
 public:
  SchemaReader(Grammar& grammar, const json& document, JsonSpaces spaces, const std::string& root)
      : grammar_(grammar), root_(root), text_(grammar, spaces), plain_(document, grammar.origin()) {}

  void read(const json& schema) {
    grammar_.define(root_, any(outermost(schema)));
    inside_ = true;
    while (!references_.empty()) {
      const std::string reference = std::move(references_.front());
      references_.pop_front();
      grammar_.define(name_of(reference), any(plain_.target(reference)));
    }
  }

 private:
  // What a schema says that is nothing but a reference: as rules, references could stand anywhere.
  const json& outermost(const json& schema) const {
    constexpr int kMaxHops = 64;
    static const json kAny = json::object();
    const json* out = &schema;
    for (int i = 0; i < kMaxHops && is_reference(*out); ++i) {
      plain_.check(*out);
      out = &plain_.target((*out)["$ref"].get<std::string>());
    }
    return *out == true ? kAny : *out;
  }

  static std::vector<std::string> keywords_of(const json& schema) {
    std::vector<std::string> out;
    for (const auto& [keyword, value] : schema.items())
      if (!PlainSchemas::is_annotation(keyword)) out.push_back(keyword);
    return out;
  }

  static bool is_reference(const json& schema) {
    return schema.is_object() && keywords_of(schema) == std::vector<std::string>{"$ref"} &&
           schema["$ref"].is_string();
  }

  std::string name_of(const std::string& reference) const { return root_ + ": " + reference; }

  Expression any(const json& schema) {
    constexpr int kDeepest = 64, kMaxSchemas = 20'000;
    if (schema == true) return text_.value();
    if (schema == false) return grammar_.any_of({});
    if (++depth_ > kDeepest) plain_.refuse("schemas are nested more than 64 deep");
    if (++schemas_ > kMaxSchemas) plain_.refuse("it combines to more than 20,000 schemas");
    plain_.check(schema);
    const Expression out = combined(schema);
    --depth_;
    return out;
  }

  // References alone are rules, which may contain themselves; what is combined is taken apart.
  Expression combined(const json& schema) {
    const std::vector<std::string> keywords = keywords_of(schema);
    const bool alone = keywords.size() == 1;
    if (is_reference(schema)) {
      const auto reference = schema["$ref"].get<std::string>();
      if (known_.insert(reference).second) references_.push_back(reference);
      return grammar_.rule(name_of(reference));
    }
    const bool one =
        alone && (keywords[0] == "anyOf" || (keywords[0] == "allOf" && schema["allOf"].size() == 1));
    if (one && schema[keywords[0]].is_array() && !schema[keywords[0]].empty())
      return any_of(schema[keywords[0]]);
    std::vector<Expression> out;
    for (const json& plain : plain_.of(schema)) out.push_back(simple(plain));
    return grammar_.any_of(std::move(out));
  }

  Expression any_of(const json& schemas) {
    std::vector<Expression> out;
    for (const json& schema : schemas) out.push_back(any(schema));
    return grammar_.any_of(std::move(out));
  }

  // A rule of its own, for what may be repeated.
  Expression as_rule(Expression what) {
    const std::string name = root_ + ": part " + std::to_string(++rules_);
    grammar_.define(name, what);
    return grammar_.rule(name);
  }

  Expression simple(const json& plain) {
    if (plain.contains("const") || plain.contains("enum")) return constants(plain);
    std::vector<Expression> out;
    for (const std::string& type : types_of(plain)) {
      if (type == "object") out.push_back(object(plain));
      if (type == "array") out.push_back(array(plain));
      if (type == "string") out.push_back(string(plain));
      if (type == "number" || type == "integer") out.push_back(number(plain, type == "integer"));
      if (type == "boolean")
        out.push_back(grammar_.any_of({grammar_.literal("true"), grammar_.literal("false")}));
      if (type == "null") out.push_back(grammar_.literal("null"));
    }
    return grammar_.any_of(std::move(out));
  }

  // Those that the other keywords allow.
  Expression constants(const json& plain) {
    json values = plain.contains("enum") ? plain["enum"] : json::array();
    if (plain.contains("const")) {
      const bool in = !plain.contains("enum") || std::ranges::find(values, plain["const"]) != values.end();
      values = in ? json::array({plain["const"]}) : json::array();
    }
    json rest = plain;
    rest.erase("const"), rest.erase("enum"), rest.erase(PlainSchemas::kOrder);
    const bool typed = rest.contains("type");
    const std::vector<std::string> types = typed ? types_of(rest) : std::vector<std::string>{};
    rest.erase("type");
    Fits fits(rest, grammar_.origin());
    std::vector<json> out;
    for (const json& value : values) {
      if (typed && !is_of_type(value, types)) continue;
      if (!rest.empty() && value.is_structured())
        plain_.refuse("constants that are objects or lists cannot have further keywords");
      if (!rest.empty() && !fits(value)) continue;
      out.push_back(value);
    }
    return text_.constants(out, !inside_);
  }

  // Whether constants fit other keywords, which say nothing about types that they are not about. Of constants
  // that are no objects or lists.
  class Fits {
   public:
    Fits(const json& plain, const std::string& origin)
        : plain_(plain), origin_(origin), about_(types_of(plain)) {}
    bool operator()(const json& value) {
      if (!is_of_type(value, about_)) return true;
      const std::string type = value.is_number() ? "number" : value.type_name();
      if (!read_.count(type)) read_.emplace(type, automaton_of(type));
      std::optional<Automaton>& automaton = read_.at(type);
      return automaton && automaton->complete(automaton->step(Automaton::kStart, value.dump()));
    }

   private:
    std::optional<Automaton> automaton_of(const std::string& type) const {
      Grammar grammar(origin_);
      json schema = plain_;
      schema["type"] = type;
      for (const char* keyword : {"pattern", "format"}) {
        if (!schema.contains(keyword) || !schema[keyword].is_array()) continue;
        const json all = schema[keyword];
        schema.erase(keyword);
        for (const json& one : all) schema["allOf"].push_back({{keyword, one}});
      }
      SchemaReader(grammar, schema, JsonSpaces::none, "root").read(schema);
      try {
        return Automaton(StackMachine(grammar, "root"), origin_);
      } catch (const Error&) {  // nothing fits
        return std::nullopt;
      }
    }

    const json& plain_;
    const std::string& origin_;
    const std::vector<std::string> about_;
    std::map<std::string, std::optional<Automaton>> read_;
  };

  int count(const json& plain, const char* keyword, int fallback) const {
    if (!plain.contains(keyword)) return fallback;
    const json& value = plain[keyword];
    const bool whole = value.is_number() && value.get<double>() == std::floor(value.get<double>());
    if (!whole || value.get<double>() < 0 || value.get<double>() > kMaxCount)
      plain_.refuse("\"", keyword, "\" must be a whole number, 0 to 100,000");
    return value.get<int>();
  }

  // A pattern or several, of schemas that combine.
  static std::vector<std::string> texts_of(const json& plain, const char* keyword) {
    if (!plain.contains(keyword)) return {};
    const json& value = plain[keyword];
    return value.is_array() ? value.get<std::vector<std::string>>() : std::vector{value.get<std::string>()};
  }

  Expression string(const json& plain) {
    std::vector<std::string> patterns = texts_of(plain, "pattern");
    for (const std::string& format : texts_of(plain, "format"))
      patterns.push_back(pattern_of_format(format, grammar_.origin()));
    const int least = count(plain, "minLength", 0), most = count(plain, "maxLength", Grammar::kUnbounded);
    if (most != Grammar::kUnbounded && most < least) return grammar_.any_of({});
    if (patterns.empty()) return text_.string(least, most);
    const RegexOptions found{.anywhere = true, .write = [&](const std::vector<CodeRange>& ranges) {
                               return text_.character(ranges);
                             }};
    if (patterns.size() == 1 && least == 0 && most == Grammar::kUnbounded)
      return text_.quoted(parse_regex(grammar_, patterns[0], found));
    return text_.quoted(common_texts(grammar_, patterns, least, most, found));
  }

  std::optional<NumberBound> bound(const json& plain, const char* inclusive, const char* exclusive,
                                   bool least) const {
    std::optional<NumberBound> out;
    for (const char* keyword : {inclusive, exclusive}) {
      if (!plain.contains(keyword)) continue;
      if (!plain[keyword].is_number()) plain_.refuse("\"", keyword, "\" must be a number");
      constexpr double kMost = 9007199254740992;  // 2^53: beyond it not every whole number is a double
      const NumberBound also{plain[keyword].get<double>(), keyword == exclusive};
      if (std::abs(also.value) >= kMost) plain_.refuse("\"", keyword, "\" is beyond 9007199254740992");
      if (!out || (least ? also.value > out->value : also.value < out->value) ||
          (also.value == out->value && also.exclusive))
        out = also;
    }
    return out;
  }

  Expression number(const json& plain, bool integer) {
    NumberRange range{bound(plain, "minimum", "exclusiveMinimum", true),
                      bound(plain, "maximum", "exclusiveMaximum", false)};
    // A double has 15 digits: with more, a number could be read as the bound that it must not reach.
    for (const auto& side : {range.least, range.most})
      if (side && side->exclusive)
        range.fraction_digits = std::min(
            range.fraction_digits, std::max(1, 14 - static_cast<int>(std::log10(std::abs(side->value) + 1))));
    if (integer) range.fraction_digits = 0;
    if (!plain.contains("multipleOf")) return text_.number(range);
    if (!plain["multipleOf"].is_number() || !(plain["multipleOf"].get<double>() > 0))
      plain_.refuse("\"multipleOf\" must be a number above 0");
    const auto divisor = plain["multipleOf"].get<double>();
    for (int digits = 0; digits <= 6; ++digits) {
      if (divisor != std::stod("1e-" + std::to_string(digits))) continue;
      range.fraction_digits = std::min(range.fraction_digits, digits);
      return text_.number(range);
    }
    constexpr int kMaxDivisor = 1000;
    if (divisor != std::floor(divisor) || divisor > kMaxDivisor || range.least || range.most)
      plain_.refuse(
          "\"multipleOf\" must be 1, 0.1, 0.01, ..., or a whole number up to 1,000 without bounds beside it");
    return text_.multiple_of(static_cast<int>(divisor));
  }

  Expression array(const json& plain) {
    const json prefix = plain.value("prefixItems", json::array());
    const json rest = plain.value("items", json(true));
    if (!prefix.is_array()) plain_.refuse("\"prefixItems\" must be a list of schemas");
    if (rest.is_array())
      plain_.refuse("\"items\" must be one schema: lists are called \"prefixItems\" since 2020");
    const int first = static_cast<int>(prefix.size());
    const int least = count(plain, "minItems", 0);
    int most = count(plain, "maxItems", Grammar::kUnbounded);
    if (rest == false) most = most == Grammar::kUnbounded ? first : std::min(most, first);
    const bool bounded = most != Grammar::kUnbounded;
    if (bounded && most < least) return grammar_.any_of({});
    if (most == 0) return text_.brackets(false, grammar_.literal(""), false);
    const bool outer = !std::exchange(inside_, true);
    // From the last item to the first: what may follow the items before it.
    Expression out = grammar_.literal("");
    if (!bounded || most > first) {
      const Expression item = as_rule(any(rest));
      const Expression more = grammar_.sequence({text_.comma(outer), item});
      const int low = std::max(0, least - first), high = bounded ? most - first : most;
      const auto less = [](int n) { return n == Grammar::kUnbounded ? n : n - 1; };
      out = first > 0 ? grammar_.repeat(more, low, high)
                      : grammar_.sequence({item, grammar_.repeat(more, std::max(0, low - 1), less(high))});
    }
    for (int i = std::min(first, bounded ? most : first) - 1; i >= 0; --i) {
      const Expression item = any(prefix[static_cast<size_t>(i)]);
      out = i > 0 ? grammar_.sequence({text_.comma(outer), item, out}) : grammar_.sequence({item, out});
      if (i > 0 && i >= least) out = grammar_.repeat(out, 0, 1);
    }
    inside_ = !outer;
    return text_.brackets(least == 0, out, outer);
  }

  struct Property {
    Expression member;
    bool required;
  };

  Expression object(const json& plain) {
    const bool any_names = !plain.contains("properties") && !plain.contains("additionalProperties");
    const json named = plain.value("properties", json::object());
    const json other = plain.value("additionalProperties", json(any_names));
    if (!named.is_object()) plain_.refuse("\"properties\" must be an object of schemas");
    const json required = plain.value("required", json::array());
    if (!required.is_array()) plain_.refuse("\"required\" must be a list of names");
    const bool any_order = is_any_order(plain), inside = std::exchange(inside_, true);
    std::vector<Property> properties;
    std::vector<std::string> names;
    const auto add = [&](const std::string& name, const json& schema, bool must) {
      names.push_back(name);
      properties.push_back({text_.member(text_.constant(name), any(schema)), must});
    };
    for (const auto& [name, schema] : named.items())
      add(name, schema, std::ranges::find(required, json(name)) != required.end());
    for (const json& name : required) {
      if (!name.is_string()) plain_.refuse("\"required\" must be a list of names");
      if (std::ranges::find(names, name.get<std::string>()) == names.end())
        add(name.get<std::string>(), plain.value("additionalProperties", json(true)), true);
    }
    const int least = count(plain, "minProperties", 0),
              most = count(plain, "maxProperties", Grammar::kUnbounded);
    const auto must = std::ranges::count_if(properties, [](const Property& p) { return p.required; });
    if (other != false && least > std::max<int64_t>(must, 1))
      plain_.refuse(
          "\"minProperties\" above 1 needs \"required\" names or \"additionalProperties\": false: the same "
          "name may be written twice");
    Expression more = grammar_.any_of({});
    if (other != false) more = text_.member(text_.string_but(names), as_rule(any(other)));
    inside_ = inside;
    const bool shuffled = any_order && !properties.empty();
    if (shuffled && other != false && most != Grammar::kUnbounded)
      plain_.refuse("\"maxProperties\" needs \"additionalProperties\": false where \"", PlainSchemas::kOrder,
                    "\" is \"any\"");
    const Expression all = shuffled ? members_in_any_order(properties, as_rule(more), least, most)
                                    : members(properties, more, least, most);
    return grammar_.sequence({text_.open('{'), all, text_.close('}')});
  }

  bool is_any_order(const json& plain) const {
    const std::string order = plain.value(PlainSchemas::kOrder, "listed");
    if (order != "any" && order != "listed")
      plain_.refuse("\"", PlainSchemas::kOrder, "\" must be \"any\" or \"listed\"");
    return order == "any";
  }

  // A rule for every set of properties that may be written already, others among them where `more` allows
  // some.
  Expression members_in_any_order(const std::vector<Property>& properties, Expression more, int least,
                                  int most) {
    constexpr size_t kMaxProperties = 10;
    if (properties.size() > kMaxProperties)
      plain_.refuse("objects in any order have at most 10 \"properties\"");
    const std::string name = root_ + ": object " + std::to_string(++rules_) + ", behind ";
    const auto rule = [&](uint32_t written, bool first) {
      return grammar_.rule(name + (first ? "nothing" : std::to_string(written)));
    };
    const bool bounded = most != Grammar::kUnbounded;
    uint32_t must = 0;
    std::vector<Expression> parts;
    for (size_t i = 0; i < properties.size(); ++i) {
      must |= uint32_t{properties[i].required} << i;
      parts.push_back(as_rule(properties[i].member));
    }
    const auto define = [&](uint32_t written, bool first) {
      const int count = std::popcount(written);
      std::vector<Expression> next = {grammar_.sequence({more, rule(written, false)})}, ways;
      for (size_t i = 0; i < parts.size(); ++i)
        if (const uint32_t bit = uint32_t{1} << i; !(written & bit) && (!bounded || count < most))
          next.push_back(grammar_.sequence({parts[i], rule(written | bit, false)}));
      const Expression one = grammar_.any_of(std::move(next));
      ways.push_back(first ? one : grammar_.sequence({text_.comma(), one}));
      if ((written & must) == must && (first ? least == 0 : std::max(1, count) >= least))
        ways.push_back(grammar_.literal(""));
      grammar_.define(name + (first ? "nothing" : std::to_string(written)), grammar_.any_of(std::move(ways)));
    };
    define(0, true);
    for (uint32_t written = 0; written < uint32_t{1} << parts.size(); ++written) define(written, false);
    return rule(0, true);
  }

  // A rule for every place in the list and every number of members before it, as far as that matters.
  Expression members(const std::vector<Property>& properties, Expression more, int least, int most) {
    const std::string name = root_ + ": object " + std::to_string(++rules_) + ", ";
    const bool bounded = most != Grammar::kUnbounded;
    const int matters =
        std::min(std::max({1, least, bounded ? most + 1 : 0}), static_cast<int>(properties.size()) + 1);
    const auto rule = [&](size_t place, int before) {
      return grammar_.rule(name + std::to_string(place) + " behind " +
                           std::to_string(std::min(before, matters)));
    };
    const auto with_comma = [&](int before, Expression member) {
      return before > 0 ? grammar_.sequence({text_.comma(), member}) : member;
    };
    for (size_t place = 0; place <= properties.size(); ++place) {
      for (int before = 0; before <= std::min(static_cast<int>(place), matters); ++before) {
        std::vector<Expression> ways;
        if (place < properties.size()) {
          const Property& property = properties[place];
          ways.push_back(
              grammar_.sequence({with_comma(before, property.member), rule(place + 1, before + 1)}));
          if (!property.required) ways.push_back(rule(place + 1, before));
        } else if (!bounded || before <= most) {
          ways.push_back(others(more, before, std::max(0, least - before), bounded ? most - before : most));
        }
        grammar_.define(name + std::to_string(place) + " behind " + std::to_string(before),
                        grammar_.any_of(std::move(ways)));
      }
    }
    return rule(0, 0);
  }

  // Members that are not named, so many.
  Expression others(Expression more, int before, int least, int most) {
    const Expression next = grammar_.sequence({text_.comma(), more});
    if (before > 0 || most == 0) return grammar_.repeat(next, least, most);
    const int rest = most == Grammar::kUnbounded ? most : most - 1;
    const Expression some = grammar_.sequence({more, grammar_.repeat(next, std::max(0, least - 1), rest)});
    return least > 0 ? some : grammar_.repeat(some, 0, 1);
  }

  Grammar& grammar_;
  const std::string root_;
  JsonText text_;
  PlainSchemas plain_;
  std::deque<std::string> references_;  // to be read
  std::set<std::string> known_;
  int depth_ = 0, schemas_ = 0, rules_ = 0;
  bool inside_ = false;  // an object or a list, or somewhere that references lead to
};

}  // namespace

void parse_json_schema(Grammar& grammar, std::string_view text, JsonSpaces spaces, const std::string& root) {
  constexpr int kDeepest = 256;
  const json document = parse_ordered(text, grammar.origin(), kDeepest);
  try {
    SchemaReader(grammar, document, spaces, root).read(document);
  } catch (const json::exception&) {
    fail("{}: a keyword has a value of the wrong kind", grammar.origin());
  }
}

}  // namespace dvlm
