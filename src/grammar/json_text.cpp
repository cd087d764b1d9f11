#include "grammar/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/utf8.h"
#include "grammar/code_ranges.h"
#include "grammar/decimals.h"

namespace dvlm {

using nlohmann::ordered_json;

namespace {

constexpr std::pair<char, const char*> kShortEscapes[] = {
    {'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"}, {'\n', "\\n"}, {'\r', "\\r"}, {'\t', "\\t"}};

ByteSet bytes_of(std::string_view characters) {
  ByteSet set;
  for (const char c : characters) set.set(static_cast<uint8_t>(c));
  return set;
}

}  // namespace

template <class Make>
Expression JsonText::once(const std::string& name, const Make& make) {
  if (grammar_.claim(name)) grammar_.define(name, make());
  return grammar_.rule(name);
}

Expression JsonText::space() {
  if (spaces_ != JsonSpaces::any) return grammar_.literal("");
  return once("json space", [&] {
    const Expression blank = grammar_.literal(" "), line = grammar_.literal("\n"),
                     tab = grammar_.literal("\t");
    return grammar_.sequence({grammar_.repeat(line, 0, 2),
                              grammar_.any_of({grammar_.repeat(blank, 0, 16), grammar_.repeat(tab, 1, 8)})});
  });
}

Expression JsonText::open(char bracket) {
  return grammar_.sequence({grammar_.literal({&bracket, 1}), space()});
}

Expression JsonText::close(char bracket) {
  return grammar_.sequence({space(), grammar_.literal({&bracket, 1})});
}

Expression JsonText::comma(bool outer) {
  const char* behind = spaces_ != JsonSpaces::usual ? "" : outer ? "\n\t" : " ";
  return grammar_.sequence({grammar_.literal(","), grammar_.literal(behind), space()});
}

Expression JsonText::brackets(bool may_be_empty, Expression items, bool outer) {
  if (outer && spaces_ == JsonSpaces::usual)
    items = grammar_.sequence({grammar_.literal("\n\t"), items, grammar_.literal("\n")});
  return grammar_.sequence({open('['), may_be_empty ? optional(items) : items, close(']')});
}

Expression JsonText::member(Expression key, Expression value) {
  const Expression blank = grammar_.literal(spaces_ == JsonSpaces::none ? "" : " ");
  return grammar_.sequence(
      {key, grammar_.literal(":"), spaces_ == JsonSpaces::any ? optional(blank) : blank, value});
}

Expression JsonText::list(char opening, Expression item, char closing) {
  const Expression more = grammar_.repeat(grammar_.sequence({comma(), item}), 0, Grammar::kUnbounded);
  return grammar_.sequence({open(opening), optional(grammar_.sequence({item, more})), close(closing)});
}

Expression JsonText::value() {
  return once("json value", [&] {
    return grammar_.any_of({object(), array(), string(), number(), grammar_.literal("true"),
                            grammar_.literal("false"), grammar_.literal("null")});
  });
}

Expression JsonText::object() {
  return once("json object", [&] { return list('{', member(string(), value()), '}'); });
}

Expression JsonText::array() {
  return once("json array", [&] { return list('[', value(), ']'); });
}

Expression JsonText::character() {
  return once("json character", [&] {
    const auto hex = [&](std::string_view characters) { return grammar_.bytes(bytes_of(characters)); };
    const Expression any = hex("0123456789abcdefABCDEF");
    const Expression surrogate = hex("dD"), escape = grammar_.literal("\\u");
    const Expression plain = grammar_.any_of({
        grammar_.sequence({hex("0123456789abcefABCEF"), any, any, any}),
        grammar_.sequence({surrogate, hex("01234567"), any, any}),
        grammar_.sequence({surrogate, hex("89abAB"), any, any, escape, surrogate, hex("cdefCDEF"), any, any}),
    });
    return grammar_.any_of({grammar_.characters({{0x20, '!'}, {'#', '['}, {']', kMaxCode}}),
                            grammar_.sequence({grammar_.literal("\\"), hex("\"\\/bfnrt")}),
                            grammar_.sequence({escape, plain})});
  });
}

Expression JsonText::character(const std::vector<CodeRange>& ranges) {
  const auto has = [&](char32_t code) {
    return std::ranges::any_of(ranges,
                               [&](const CodeRange& r) { return r.first <= code && code <= r.second; });
  };
  std::vector<CodeRange> plain;
  for (auto [first, last] : ranges) {
    first = std::max<char32_t>(first, 0x20);
    for (const char32_t escaped : {U'"', U'\\'}) {
      if (first > escaped || last < escaped) continue;
      if (first < escaped) plain.emplace_back(first, escaped - 1);
      first = escaped + 1;
    }
    if (first <= last) plain.emplace_back(first, last);
  }
  std::vector<Expression> out;
  if (!plain.empty()) out.push_back(grammar_.characters(plain));
  for (char32_t code = 0; code <= '\\'; ++code) {
    if (!has(code) || (code >= 0x20 && code != '"' && code != '\\')) continue;
    const auto known =
        std::ranges::find(kShortEscapes, static_cast<char>(code), [](const auto& e) { return e.first; });
    out.push_back(grammar_.literal(known != std::end(kShortEscapes)
                                       ? std::string(known->second)
                                       : fmt::format("\\u{:04x}", static_cast<uint32_t>(code))));
  }
  return grammar_.any_of(std::move(out));
}

Expression JsonText::quoted(Expression characters) {
  return grammar_.sequence({grammar_.literal("\""), characters, grammar_.literal("\"")});
}

Expression JsonText::string(int least, int most) {
  return quoted(grammar_.repeat(character(), least, most));
}

Expression JsonText::string_but(const std::vector<std::string>& texts) {
  std::vector<std::u32string> codes(texts.size());
  std::ranges::transform(texts, codes.begin(), code_points);
  return quoted(but(codes, 0));
}

// Characters that are not the rest of one of the texts, all of which begin with what is written before
// `from`.
Expression JsonText::but(const std::vector<std::u32string>& texts, size_t from) {
  std::map<char32_t, std::vector<std::u32string>> by_next;
  bool whole = false;
  for (const std::u32string& text : texts) {
    if (text.size() == from)
      whole = true;
    else
      by_next[text[from]].push_back(text);
  }
  std::vector<CodeRange> others;
  std::vector<Expression> out;
  for (const auto& [code, rest] : by_next) {
    others.emplace_back(code, code);
    out.push_back(grammar_.sequence({character({{code, code}}), but(rest, from + 1)}));
  }
  const Expression any = grammar_.repeat(character({{0, kMaxCode}}), 0, Grammar::kUnbounded);
  out.push_back(grammar_.sequence({character(all_but(std::move(others))), any}));
  if (!whole) out.push_back(grammar_.literal(""));
  return grammar_.any_of(std::move(out));
}

Expression JsonText::number(const NumberRange& range) {
  const Expression decimal = decimals(grammar_, range);
  if (range.least || range.most || range.fraction_digits < NumberRange{}.fraction_digits) return decimal;
  return once("json number", [&] {
    const Expression digit = grammar_.bytes(bytes_of("0123456789")), sign = grammar_.bytes(bytes_of("+-"));
    const Expression exponent =
        grammar_.sequence({grammar_.bytes(bytes_of("eE")), optional(sign), grammar_.repeat(digit, 1, 2)});
    return grammar_.sequence({decimal, optional(exponent)});
  });
}

Expression JsonText::multiple_of(int divisor) {
  const std::string name = fmt::format("json multiple of {}, remainder ", divisor);
  const auto rule = [&](int remainder) { return grammar_.rule(name + std::to_string(remainder)); };
  const auto then = [&](int remainder, int first) {
    std::vector<Expression> out;
    for (int digit = first; digit <= 9; ++digit)
      out.push_back(grammar_.sequence(
          {grammar_.literal(std::to_string(digit)), rule((10 * remainder + digit) % divisor)}));
    return grammar_.any_of(std::move(out));
  };
  for (int remainder = 0; remainder < divisor && grammar_.claim(name + std::to_string(remainder));
       ++remainder) {
    std::vector<Expression> ways = {then(remainder, 0)};
    if (remainder == 0) ways.push_back(grammar_.literal(""));
    grammar_.define(name + std::to_string(remainder), grammar_.any_of(std::move(ways)));
  }
  const Expression minus = optional(grammar_.literal("-"));
  return grammar_.any_of({grammar_.literal("0"), grammar_.sequence({minus, then(0, 1)})});
}

// What follows the first `shared` characters of texts that share these; sorted, each once. Beginnings that
// several share stand there once, so that thousands of texts are few ways to go on.
Expression JsonText::one_of(std::span<const std::u32string> texts, size_t shared) {
  size_t common = shared;
  const std::u32string &first = texts.front(), &last = texts.back();
  while (common < first.size() && common < last.size() && first[common] == last[common]) ++common;
  std::vector<Expression> parts;
  for (size_t i = shared; i < common; ++i) parts.push_back(character({{first[i], first[i]}}));
  const bool ends = first.size() == common;
  if (ends) texts = texts.subspan(1);
  if (texts.empty()) return grammar_.sequence(std::move(parts));
  std::vector<Expression> ways;
  if (ends) ways.push_back(grammar_.literal(""));
  while (!texts.empty()) {
    const char32_t next = texts.front()[common];
    const auto end = std::ranges::find_if(texts, [&](const auto& text) { return text[common] != next; });
    const auto count = static_cast<size_t>(end - texts.begin());
    ways.push_back(one_of(texts.first(count), common));
    texts = texts.subspan(count);
  }
  parts.push_back(grammar_.any_of(std::move(ways)));
  return grammar_.sequence(std::move(parts));
}

Expression JsonText::constants(const std::vector<ordered_json>& values, bool outer) {
  std::vector<Expression> out;
  std::vector<std::u32string> strings;
  for (const ordered_json& value : values) {
    if (value.is_string())
      strings.push_back(code_points(value.get_ref<const std::string&>()));
    else
      out.push_back(constant(value, outer));
  }
  std::ranges::sort(strings);
  strings.erase(std::unique(strings.begin(), strings.end()), strings.end());
  if (!strings.empty()) out.push_back(quoted(one_of(strings, 0)));
  return grammar_.any_of(std::move(out));
}

Expression JsonText::constant(const ordered_json& value, bool outer) {
  if (!value.is_structured()) {
    constexpr double kExact = 9007199254740992;  // 2^53
    if (value.is_number_float() && std::abs(value.get<double>()) > kExact)
      fail("{}: the constant {} has more digits than are kept", grammar_.origin(), value.dump());
    if (!value.is_string()) return grammar_.literal(value.dump());
    std::vector<Expression> characters;
    for (const char32_t code : code_points(value.get_ref<const std::string&>()))
      characters.push_back(character({{code, code}}));
    return quoted(grammar_.sequence(std::move(characters)));
  }
  const bool object = value.is_object();
  std::vector<Expression> parts;
  for (const auto& [key, item] : value.items()) {
    if (!parts.empty()) parts.push_back(comma(outer && !object));
    parts.push_back(object ? member(constant(key), constant(item)) : constant(item));
  }
  const bool lines = outer && !parts.empty();
  const Expression inside = grammar_.sequence(std::move(parts));
  return object ? grammar_.sequence({open('{'), inside, close('}')}) : brackets(false, inside, lines);
}

}  // namespace dvlm
