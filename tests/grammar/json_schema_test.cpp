// Which JSON texts a schema lets through, and which schemas are refused.
#include "grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "grammar/decimals.h"
#include "grammar/takes.h"

namespace dvlm {
namespace {

Automaton schema(std::string_view text, JsonSpaces spaces = JsonSpaces::none) {
  return read_grammar({GrammarKind::json_schema, std::string(text), spaces});
}

struct Case {
  const char* schema;
  std::vector<const char*> right, wrong;
};

const std::vector<Case> kCases = {
    {R"(true)",
     {"1", R"({"a":[1,{"b":null}]})", "[]", R"("\u00e9\"")"},
     {"", "{", "[1,]", "01", R"("\ud800")", "\"\n\""}},
    {R"({"type":"integer"})",
     {"0", "-7", "1234567890123456"},
     {"1.0", "-0.5", "00", "1e3", "-", "12345678901234567"}},
    {R"({"type":"number"})", {"0", "-0.25", "1e5", "12.5E-3"}, {".5", "1.", "+1", "NaN"}},
    {R"({"type":["boolean","null"]})", {"true", "false", "null"}, {"0", "\"true\""}},
    {R"({"type":"integer","minimum":-3,"maximum":12})",
     {"-3", "-1", "0", "9", "12"},
     {"-4", "13", "100", "-0"}},
    {R"({"type":"integer","exclusiveMinimum":9,"maximum":100.5})", {"10", "99", "100"}, {"9", "101", "8"}},
    {R"({"type":"number","minimum":0,"maximum":1})",
     {"0", "0.5", "1", "1.00", "0.999"},
     {"1.01", "-0.5", "2", "1e0"}},
    {R"({"type":"number","exclusiveMinimum":2.5})", {"2.51", "3", "2.500001"}, {"2.5", "2", "2.50"}},
    {R"({"type":"number","multipleOf":0.01})", {"1", "0.25", "-3.1"}, {"0.125"}},
    {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "700"}, {"1", "8", "71"}},
    {R"({"type":"string","minLength":1,"maxLength":3})",
     {R"("a")", R"("äöü")", R"("\n\u20ac\\")"},
     {R"("")", R"("abcd")"}},
    {R"({"type":"string","pattern":"^[a-c\"]+$"})",
     {R"("abc")", R"("a\"")"},
     {R"("")", R"("d")", R"("a\u0022")"}},
    {R"({"type":"string","pattern":"b"})", {R"("abc")", R"("b")"}, {R"("ac")"}},
    {R"({"type":"string","pattern":"b","minLength":2,"maxLength":3})",
     {R"("ab")", R"("b\n")", R"("üb\"")"},
     {R"("b")", R"("aab ")", R"("aaa")"}},
    {R"({"allOf":[{"pattern":"^[a-z]+$"},{"pattern":"x"},{"maxLength":4}]})",
     {R"("x")", R"("axbx")"},
     {R"("ab")", R"("X")", R"("xxxxx")", R"("x\n")"}},
    {R"({"type":"string","format":"email","maxLength":6})",
     {R"("a@b.de")", R"("a@b.d")"},
     {R"("ab@b.de")", R"("ab")"}},
    {R"({"enum":["ab","b","abc","c"],"allOf":[{"pattern":"b"},{"pattern":"^a"}]})",
     {R"("ab")", R"("abc")"},
     {R"("b")", R"("c")"}},
    {R"({"type":"string","format":"date"})",
     {R"("2024-02-29")", R"("1999-12-31")"},
     {R"("2023-02-29")", R"("2023-04-31")"}},
    {R"({"type":"string","format":"ipv6"})",
     {R"("::1")", R"("2001:db8::ff00:42:8329")", R"("1:2:3:4:5:6:7:8")"},
     {R"("1:2:3:4:5:6:7")", R"("1::2::3")", R"("12345::")"}},
    {R"({"type":"string","format":"uuid"})",
     {R"("123e4567-e89b-12d3-a456-426614174000")"},
     {R"("123e4567")"}},
    {R"({"enum":["a",1,null,{"b":[true]}]})", {R"("a")", "1", "null", R"({"b":[true]})"}, {"2", R"("b")"}},
    {R"({"enum":["a",5,50],"type":"integer","maximum":9})", {"5"}, {"50", R"("a")"}},
    {R"({"const":"caf\u00e9 \""})", {"\"caf\u00e9 \\\"\""}, {R"("caf")"}},
    {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
     {"[1,2]", "[1,2,3]"},
     {"[]", "[1]", "[1,2,3,4]"}},
    {R"({"type":"array","prefixItems":[{"const":1},{"const":"x"}],"items":false})",
     {"[]", "[1]", R"([1,"x"])"},
     {R"(["x"])", R"([1,"x",1])"}},
    {R"({"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1,"maxItems":4})",
     {"[1]", "[1,2]", "[1,2,3]", "[1,2,3,3]"},
     {"[]", "[1,3]", "[1,2,3,3,3]"}},
    {R"({"type":"array","items":true,"maxItems":0})", {"[]"}, {"[1]"}},
    {R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"null"}},"required":["a"]})",
     {R"({"b":1,"a":null})", R"({"a":null})"},
     {R"({"a":null,"b":1})", R"({"b":1})", "{}", R"({"a":null,"c":1})"}},
    {R"({"type":"object","properties":{"a":true},"additionalProperties":{"type":"integer"}})",
     {"{}", R"({"a":"x"})", R"({"a":1,"b":2})", R"({"b":2,"aa":3,"":4})"},
     {R"({"b":"x"})", R"({"b":1,"a":1})", R"({"\u0061":1})"}},
    {R"({"type":"object","required":["x"]})", {R"({"x":1})", R"({"x":1,"y":2})"}, {"{}", R"({"y":1})"}},
    {R"({"type":"object"})", {"{}", R"({"a":{"b":[]}})"}, {"[]", R"({a:1})"}},
    {R"({"type":"object","additionalProperties":{"const":1},"maxProperties":2,"minProperties":1})",
     {R"({"a":1})", R"({"a":1,"b":1})"},
     {"{}", R"({"a":1,"b":1,"c":1})"}},
    {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"minProperties":2,"maxProperties":2,"additionalProperties":false})",
     {R"({"a":1,"b":2})", R"({"a":1,"c":3})", R"({"b":2,"c":3})"},
     {"{}", R"({"a":1})", R"({"a":1,"b":2,"c":3})"}},
    {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})",
     {"3", R"("a")"},
     {R"("ab")", "null"}},
    {R"({"type":"integer","anyOf":[{"maximum":3},{"minimum":8}]})", {"3", "8"}, {"5", "\"a\""}},
    {R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"v":{"type":"integer"}},"required":["kind","v"]},
        {"type":"object","properties":{"kind":{"const":"b"}},"required":["kind"]}]})",
     {R"({"kind":"a","v":1})", R"({"kind":"b"})"},
     {R"({"kind":"a"})", R"({"kind":"c"})"}},
    {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
        {"properties":{"a":{"minimum":5},"b":{"const":0}}}]})",
     {R"({"a":5})", R"({"a":7,"b":0})"},
     {R"({"a":4})", R"({"b":0})"}},
    {R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},
        "required":["v","next"]}},"$ref":"#/$defs/n"})",
     {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
     {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
    {R"({"$defs":{"x":{"$anchor":"pair","type":"array","items":{"const":1},"maxItems":1}},"$ref":"#pair"})",
     {"[]", "[1]"},
     {"[1,1]"}},
    {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
    {R"({"$defs":{"p":{"type":"integer","minimum":0}},"type":"object","properties":{"x":{"$ref":"#/$defs/p","maximum":9}},"required":["x"]})",
     {R"({"x":9})"},
     {R"({"x":10})", R"({"x":-1})"}},
};

TEST(JsonSchema, lets_through_what_fits) {
  for (const auto& [text, right, wrong] : kCases) {
    Automaton automaton = schema(text);
    for (const char* value : right) EXPECT_TRUE(takes(automaton, value)) << text << "\n" << value;
    for (const char* value : wrong) EXPECT_FALSE(takes(automaton, value)) << text << "\n" << value;
  }
}

TEST(JsonSchema, members_may_stand_in_any_order) {
  const auto object = [](const char* rest) {
    return schema(
        std::string(
            R"({"x-dvlm-order":"any","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}})") +
        rest + "}");
  };
  const auto takes_only = [&](const char* rest, const std::vector<const char*>& right,
                              const std::vector<const char*>& wrong) {
    Automaton automaton = object(rest);
    for (const char* value : right) EXPECT_TRUE(takes(automaton, value)) << rest << "\n" << value;
    for (const char* value : wrong) EXPECT_FALSE(takes(automaton, value)) << rest << "\n" << value;
  };
  takes_only(R"(,"required":["a","b"])",
             {R"({"a":1,"b":2})", R"({"b":2,"a":1})", R"({"c":3,"b":2,"a":1})", R"({"b":2,"c":3,"a":1})"},
             {"{}", R"({"a":1})", R"({"a":1,"a":1,"b":2})", R"({"a":1,"b":2,})", R"({"a":1,"b":2,"d":4})"});
  takes_only(R"(,"minProperties":1,"maxProperties":2)", {R"({"c":3})", R"({"c":3,"a":1})"},
             {"{}", R"({"c":3,"a":1,"b":2})"});
  takes_only(R"(,"required":["b"],"additionalProperties":{"const":0})",
             {R"({"b":2})", R"({"d":0,"b":2,"e":0,"a":1})"},
             {R"({"d":0})", R"({"b":2,"d":1})", R"({"b":2,"a":0})"});
  takes_only(R"(,"allOf":[{"properties":{"b":{"type":"integer"}},"required":["b"]}])", {R"({"c":3,"b":2})"},
             {R"({"c":3})"});
  // Its largest, others among them.
  Automaton large = schema(
      R"({"x-dvlm-order":"any","required":["alpha","bravo","charlie","delta","echo","foxtrot","golf","hotel","india","juliet"]})");
  EXPECT_TRUE(takes(
      large,
      R"({"juliet":1,"k":0,"hotel":1,"golf":1,"foxtrot":1,"echo":1,"delta":1,"charlie":1,"bravo":1,"alpha":1,"india":1})"));
  // An order is no type, and says nothing where nothing is named.
  Automaton other = schema(R"({"x-dvlm-order":"any","anyOf":[{"minimum":3},{"const":{"b":1,"a":2}}]})");
  for (const char* value : {"3", R"({"b":1,"a":2})"}) EXPECT_TRUE(takes(other, value)) << value;
  EXPECT_FALSE(takes(other, R"({"a":2,"b":1})"));
  Automaton map = schema(R"({"type":"object","x-dvlm-order":"any","maxProperties":1})");
  EXPECT_TRUE(takes(map, R"({"a":1})"));
  EXPECT_FALSE(takes(map, R"({"a":1,"b":2})"));
  Automaton listed = schema(R"({"x-dvlm-order":"listed","properties":{"a":{"const":1},"b":{"const":2}}})");
  EXPECT_FALSE(takes(listed, R"({"b":2,"a":1})"));
}

TEST(JsonSchema, spaces_are_a_choice) {
  const char* text =
      R"({"type":"object","properties":{"a":{"type":"array"},"b":{"const":[1,2]}},"required":["a","b"]})";
  const std::vector<std::pair<JsonSpaces, const char*>> kTexts = {
      {JsonSpaces::none, R"({"a":[1,2],"b":[1,2]})"},
      {JsonSpaces::usual, R"({"a": [1, 2], "b": [1, 2]})"},
      {JsonSpaces::any, "{\n  \"a\": [1,2],\n  \"b\": [\n    1,\n    2\n  ]\n}"}};
  for (const auto& [spaces, mine] : kTexts) {
    Automaton automaton = schema(text, spaces);
    for (const auto& [others, value] : kTexts)
      EXPECT_EQ(takes(automaton, value), spaces == others || (spaces == JsonSpaces::any)) << value;
  }
}

TEST(JsonSchema, items_of_an_outermost_list_have_lines_of_their_own) {
  const auto takes_only = [](const char* text, const std::vector<const char*>& right,
                             const std::vector<const char*>& wrong) {
    Automaton automaton = schema(text, JsonSpaces::usual);
    for (const char* value : right) EXPECT_TRUE(takes(automaton, value)) << text << "\n" << value;
    for (const char* value : wrong) EXPECT_FALSE(takes(automaton, value)) << text << "\n" << value;
  };
  const char* pairs = R"({"items":{"items":{"type":"integer"}}})";
  takes_only(pairs, {"[\n\t[1, 2],\n\t[]\n]", "[\n\t[3]\n]", "[]"},
             {"[[1, 2], []]", "[\n\t\n]", "[\n\t[\n\t1\n]\n]", "[\n\t[1, 2], []\n]", "[\n\t[1]]"});
  takes_only(R"({"prefixItems":[{"const":1}],"items":{"const":2},"minItems":1})",
             {"[\n\t1\n]", "[\n\t1,\n\t2,\n\t2\n]"}, {"[]", "[\n\t1, 2\n]"});
  takes_only(R"({"anyOf":[{"items":{"const":1}},{"type":"null"},{"items":{"const":2},"minItems":1}]})",
             {"[\n\t1\n]", "[\n\t2\n]", "null"}, {"[2]", "[1]"});
  takes_only(R"({"type":"array","maxItems":0})", {"[]"}, {"[\n\t\n]", "[\n]"});
  // Objects and what references lead to are not outermost lists, wherever they are read.
  takes_only(R"({"properties":{"a":{"items":{"const":1}}},"required":["a"]})", {"{\"a\": [1, 1]}"},
             {"{\"a\": [\n\t1,\n\t1\n]}"});
  takes_only(R"({"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#/$defs/a"}}}})",
             {"[\n\t[],\n\t[[], []]\n]"}, {"[[], [[]]]", "[\n\t[\n\t[]\n]\n]"});
  takes_only(R"({"enum":[[1,[2,3]],[],{"a":[4]}]})", {"[\n\t1,\n\t[2, 3]\n]", "[]", "{\"a\": [4]}"},
             {"[1, [2, 3]]", "[\n\t\n]"});
  takes_only("true", {"[\n\t1,\n\t[2]\n]", "{\"a\": [1]}"}, {"[1]"});
}

TEST(JsonSchema, thousands_of_constants_are_few_ways_to_go_on) {
  nlohmann::json texts = {"", "a", "ab", "\"", "\u00fc"};
  for (int i = 0; i < 6000; ++i) texts.push_back("name " + std::to_string(i));
  texts.push_back(7), texts.push_back(nullptr);
  Automaton a = schema(nlohmann::json{{"enum", texts}}.dump());
  for (const char* right :
       {R"("")", R"("a")", R"("ab")", R"("\"")", "\"\u00fc\"", R"("name 0")", R"("name 5999")", "7", "null"})
    EXPECT_TRUE(takes(a, right)) << right;
  for (const char* wrong : {R"("b")", R"("name")", R"("name 6000")", R"("abc")", "8"})
    EXPECT_FALSE(takes(a, wrong)) << wrong;
}

TEST(JsonSchema, what_nests_without_end_is_refused) {
  const nlohmann::json items = std::vector<bool>(40'000, true);
  EXPECT_THAT(
      [&] {
        schema(nlohmann::json{{"prefixItems", items}}.dump());
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("nests more than")));
  std::string deep = R"({"type":"null"})";
  for (int i = 0; i < 60; ++i) deep = R"({"type":"object","properties":{"a":)" + deep + "}}";
  EXPECT_NO_THROW(schema(deep));
}

TEST(JsonSchema, what_it_cannot_do_is_refused_by_name) {
  const std::vector<std::pair<const char*, const char*>> kRefused = {
      {R"({"properties":{"a":true},"x-dvlm-order":"none"})", "x-dvlm-order"},
      {R"({"properties":{"a":true},"x-dvlm-order":true})", "x-dvlm-order"},
      {R"({"properties":{"a":true},"x-dvlm-order":"any","additionalProperties":true,"maxProperties":3})",
       "maxProperties"},
      {R"({"type":"object","x-dvlm-order":"any","required":["a","b","c","d","e","f","g","h","i","j","k"]})",
       "at most 10"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"not":{"type":"null"}})", "\"not\""},
      {R"({"if":{},"then":{}})", "\"if\""},
      {R"({"maxlength":3})", "maxlength"},
      {R"({"type":"string","nullable":true})", "nullable"},
      {R"({"type":"text"})", "no type"},
      {R"({"type":"string","format":"color"})", "date-time"},
      {R"({"type":"string","pattern":"(?=a)b"})", "regular expression"},
      {R"({"type":"string","pattern":"a[^x]{18}","allOf":[{"pattern":"b.{9}c.{9}"}],"maxLength":1000})",
       "too large"},
      {R"({"pattern":"^a","allOf":[{"pattern":"^b"}]})", "no text"},
      {R"({"type":"integer","multipleOf":7,"minimum":3})", "multipleOf"},
      {R"({"$ref":"other.json"})", "leads out"},
      {R"({"$ref":"#/nowhere"})", "names nothing"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
      {R"({"allOf":[{"$ref":"#"},{"type":"null"}]})", "without end"},
      {R"({"$ref":"#"})", "begins with itself"},
      {R"({"type":"object","minProperties":2})", "minProperties"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no text"},
      {R"({"type":"array","items":[{}]})", "prefixItems"},
      {R"({"properties":[]})", "properties"},
      {R"({"type":"string","maxLength":-1})", "maxLength"},
      {R"({"type":"string","maxLength":99999999})", "maxLength"},
      {R"(3)", "must be an object"},
      {R"({"oneOf":[{"type":"integer"},{"minLength":2}]})", "oneOf"},
      {R"({"oneOf":[{"properties":{"a":{"type":"string"}}},{"type":"string"}]})", "oneOf"},
      {R"({"oneOf":[{"type":["object","string"],"properties":{"k":{"const":1}},"required":["k"]},
          {"type":["object","string"],"properties":{"k":{"const":2}},"required":["k"]}]})",
       "oneOf"},
      {R"({"oneOf":[{"const":1.0},{"type":"integer"}]})", "oneOf"},
      {R"({"oneOf":[{"const":{"a":1,"b":2}},{"const":{"b":2,"a":1}}]})", "oneOf"},
      {R"({"type":"integer","minimum":9007199254740993})", "9007199254740992"},
      {R"({"const":123456789012345678901})", "more digits"},
      {R"({"allOf":[{"const":1,"enum":[2]},{"enum":[1,2]}]})", "no text"},
      {R"({"allOf":[{"enum":5},{"const":5}]})", "must be a list"},
      {R"({"allOf":[{"required":5},{"required":["a"]}]})", "must be a list"},
      {R"({"const":1e400})", "too large"},
      {R"({"const":"\ud800"})", "breaks at byte"},
      {R"({"type":)", "not valid JSON"},
      {R"({"type":"string","type":"null"})", "twice"},
      {R"({"enum":3})", "enum"},
      {R"({"anyOf":[]})", "anyOf"},
  };
  for (const auto& [text, named] : kRefused) {
    try {
      schema(text);
      ADD_FAILURE() << text << " is not refused";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(named)) << text;
    }
  }
}

TEST(JsonSchema, hostile_ones_are_bounded) {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += R"({"items":)";
  EXPECT_THROW(schema(deep + "true" + std::string(5000, '}')), Error);
  std::string wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 30'000; ++i) wide += fmt::format(R"({}"p{}":{{"type":"string"}})", i ? "," : "", i);
  EXPECT_THROW(schema(wide + "}}"), Error);
  std::string twice = R"({"$defs":{)";  // a tree that doubles at every step
  for (int i = 0; i < 40; ++i)
    twice += fmt::format(R"("d{}":{{"allOf":[{{"anyOf":[{{"$ref":"#/$defs/d{}"}},{{"maximum":{}}}]}}]}},)", i,
                         i + 1, i);
  EXPECT_THROW(
      schema(twice +
             R"("d40":true},"allOf":[{"$ref":"#/$defs/d0"},{"$ref":"#/$defs/d1"},{"$ref":"#/$defs/d2"}]})"),
      Error);
  EXPECT_THROW(
      schema(
          R"({"type":"array","maxItems":100000,"items":{"type":"array","maxItems":100000,"items":{"enum":[1,2]}}})"),
      Error);
}

// What doubles at every step, is merged over and over, or is compared with itself ends in a sentence, soon.
TEST(JsonSchema, work_is_bounded) {
  std::string shared = R"({"$ref":"#/$defs/a0","type":["string","null"],"$defs":{)";
  for (int i = 0; i < 40; ++i)
    shared +=
        fmt::format(R"("a{0}":{{"allOf":[{{"$ref":"#/$defs/a{1}"}},{{"$ref":"#/$defs/a{1}"}}]}},)", i, i + 1);
  EXPECT_THROW(schema(shared + R"("a40":{"type":"string"}}})"), Error);
  std::string nested = R"({"oneOf":[{"type":"array"},{"type":"string"}]})";
  for (int i = 0; i < 24; ++i) nested = fmt::format(R"({{"oneOf":[{},{{"const":{}}}]}})", nested, i);
  EXPECT_THROW(schema(nested), Error);
  std::string one = R"({"oneOf":[)";
  for (int i = 0; i < 1000; ++i) one += fmt::format(R"({}{{"const":{}}})", i ? "," : "", i);
  EXPECT_THROW(schema(one + "]}"), Error);
  std::string texts = R"({"maxLength":20000,"enum":[)";
  for (int i = 0; i < 500; ++i) texts += fmt::format(R"({}"s{}")", i ? "," : "", i);
  Automaton automaton = schema(texts + "]}");
  EXPECT_TRUE(takes(automaton, R"("s77")"));
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 20'000; ++i) chain += fmt::format("r{} ::= r{}\n", i, i + 1);
  EXPECT_THROW(read_grammar({GrammarKind::gbnf, chain + "r20000 ::= \"x\""}), Error);
}

// Against numbers themselves.
TEST(Decimals, are_those_between_the_bounds) {
  Random random(1, 1);
  for (int round = 0; round < 400; ++round) {
    const auto bound = [&]() -> std::optional<NumberBound> {
      if (random.below(4) == 0) return std::nullopt;
      const double scale = std::pow(10.0, static_cast<double>(random.below(4)));
      return NumberBound{std::round(random.normal() * 50 * scale) / scale, random.below(3) == 0};
    };
    NumberRange range{bound(), bound()};
    if (round % 3 == 0) range.fraction_digits = 0;
    Grammar grammar("numbers");
    grammar.define("root", grammar.sequence({grammar.literal("="), decimals(grammar, range)}));
    std::optional<Automaton> automaton;
    try {
      automaton.emplace(StackMachine(grammar, "root"), "numbers");
    } catch (const Error&) {  // none is between them
    }
    for (int i = 0; i < 200; ++i) {
      const int digits = range.fraction_digits == 0 ? 0 : static_cast<int>(random.below(5));
      double value = std::round(random.normal() * 50 * std::pow(10.0, digits)) / std::pow(10.0, digits);
      if (i % 4 == 0 && range.least) value = range.least->value;
      if (i % 4 == 1 && range.most) value = range.most->value;
      if (value == 0) value = 0;  // without its sign
      const bool inside = (!range.least || value > range.least->value ||
                           (value == range.least->value && !range.least->exclusive)) &&
                          (!range.most || value < range.most->value ||
                           (value == range.most->value && !range.most->exclusive));
      const bool whole = value == std::floor(value);
      const std::string text = fmt::format("{}", value);
      if (text.find('e') != std::string::npos) continue;
      EXPECT_EQ(automaton && takes(*automaton, "=" + text), inside && (whole || range.fraction_digits > 0))
          << text << " in " << (range.least ? range.least->value : -1e9) << " to "
          << (range.most ? range.most->value : 1e9);
    }
  }
}

}  // namespace
}  // namespace dvlm
