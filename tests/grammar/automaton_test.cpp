#include "grammar/automaton.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "core/random.h"
#include "core/utf8.h"
#include "grammar/source.h"
#include "grammar/takes.h"

namespace dvlm {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Automaton automaton_of(const Grammar& grammar, const std::string& start = "start") {
  return {StackMachine(grammar, start), grammar.origin()};
}

// start: "" | "(" start ")" start
Grammar brackets() {
  Grammar g("brackets");
  const Expression inside = g.rule("start");
  g.define("start", g.any_of({g.literal(""), g.sequence({g.literal("("), inside, g.literal(")"), inside})}));
  return g;
}

TEST(Automaton, FollowsRulesThatContainThemselves) {
  Automaton a = automaton_of(brackets());
  for (const char* text : {"", "()", "(())", "()()", "(()(()))()"}) EXPECT_TRUE(takes(a, text)) << text;
  for (const char* text : {"(", ")", "())", "(()", "(x)"}) EXPECT_FALSE(takes(a, text)) << text;
  EXPECT_EQ(a.step(Automaton::kStart, "())"), Automaton::kDead);
  EXPECT_NE(a.step(Automaton::kStart, "(()"), Automaton::kDead);
  const std::string deep(2000, '(');
  EXPECT_FALSE(takes(a, deep));
  EXPECT_TRUE(takes(a, deep + std::string(2000, ')')));
}

TEST(Automaton, StaysSmallForListsThatCallThemselvesLast) {
  Grammar g("list");
  g.define("start", g.sequence({g.literal("a,"), g.any_of({g.literal(""), g.rule("start")})}));
  Automaton a = automaton_of(g);
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += "a,";
  EXPECT_TRUE(takes(a, text));
  EXPECT_LT(a.states(), 10);
}

TEST(Automaton, KnowsWhatMustFollow) {
  Grammar g("object");
  g.define("start", g.sequence({g.literal("{\"x\": "), g.any_of({g.literal("true"), g.literal("12")}),
                                g.repeat(g.literal(" "), 0, Grammar::kUnbounded), g.literal("}")}));
  Automaton a = automaton_of(g);
  EXPECT_EQ(a.forced(Automaton::kStart, 100), "{\"x\": ");
  EXPECT_EQ(a.forced(Automaton::kStart, 3), "{\"x");
  EXPECT_EQ(a.forced(a.step(Automaton::kStart, "{\"x\": t"), 100), "rue");
  EXPECT_EQ(a.forced(a.step(Automaton::kStart, "{\"x\": true"), 100), "") << "a blank or the end";
  const int end = a.step(Automaton::kStart, "{\"x\": 12 }");
  EXPECT_TRUE(a.complete(end));
  EXPECT_TRUE(a.following(end).none());
}

TEST(Automaton, DoesNotBeginWhatCannotBeCompleted) {
  Grammar g("hole");
  g.define("never", g.sequence({g.literal("b"), g.rule("never")}));
  g.define("start", g.any_of({g.literal("ax"), g.sequence({g.literal("ay"), g.rule("never")}),
                              g.sequence({g.literal("c"), g.any_of({})})}));
  Automaton a = automaton_of(g);
  EXPECT_EQ(a.forced(Automaton::kStart, 100), "ax");
  Grammar none("nothing");
  none.define("start", none.sequence({none.literal("a"), none.rule("start")}));
  EXPECT_THAT([&] { automaton_of(none); }, ThrowsMessage<Error>(HasSubstr("no text")));
}

TEST(Automaton, RefusesRulesThatNeverBegin) {
  Grammar direct("g.gbnf"), hidden("g.gbnf"), missing("g.gbnf");
  direct.define("start", direct.sequence({direct.rule("start"), direct.literal("a")}));
  EXPECT_THAT([&] { automaton_of(direct); },
              ThrowsMessage<Error>(HasSubstr("the rule start begins with itself")));
  hidden.define("empty", hidden.repeat(hidden.literal("x"), 0, 1));
  hidden.define("other", hidden.sequence({hidden.rule("empty"), hidden.rule("start")}));
  hidden.define("start", hidden.sequence({hidden.rule("empty"), hidden.rule("other")}));
  EXPECT_THAT([&] { automaton_of(hidden); }, ThrowsMessage<Error>(HasSubstr("begins with itself")));
  missing.define("start", missing.rule("value"));
  EXPECT_THAT([&] { automaton_of(missing); },
              ThrowsMessage<Error>(HasSubstr("g.gbnf: there is no rule value")));
}

TEST(Automaton, BoundsWhatHostileGrammarsCost) {
  Grammar large("large"), ambiguous("ambiguous");
  Expression part = large.literal("a");
  for (int i = 0; i < 3; ++i) part = large.repeat(part, 1000, 1000);
  large.define("start", part);
  EXPECT_THAT([&] { automaton_of(large); }, ThrowsMessage<Error>(HasSubstr("too large")));
  // Every way to cut a text into up to 5,000 pieces.
  const Expression piece = ambiguous.repeat(ambiguous.literal("a"), 1, Grammar::kUnbounded);
  ambiguous.define("start", ambiguous.sequence({ambiguous.repeat(piece, 0, 5000), ambiguous.literal("b")}));
  Automaton a = automaton_of(ambiguous);
  EXPECT_THAT([&] { a.step(Automaton::kStart, std::string(6000, 'a')); },
              ThrowsMessage<Error>(HasSubstr("more than 4096 ways to go on")));
  Grammar deep("deep");
  Expression inner = deep.literal("a");
  EXPECT_THAT(
      [&] {
        for (int i = 0; i < 40'000; ++i) inner = deep.repeat(inner, 0, Grammar::kUnbounded);
      },
      ThrowsMessage<Error>(HasSubstr("nests more than")));
  // Every text reaches a state of its own, and each is many ways at once.
  Automaton slow = read_grammar({GrammarKind::regex, "([a-z ]?){0,1200}[a-z ]*[aeiou][a-z ]{0,60}[0-9]"});
  Random random(1);
  EXPECT_THAT(
      [&] {
        for (int i = 0; i < 100'000; ++i) {
          std::string text;
          for (int k = 0; k < 12; ++k) text += static_cast<char>('a' + random.below(26));
          slow.step(Automaton::kStart, text);
        }
      },
      ThrowsMessage<Error>(HasSubstr("too much work to follow")));
  EXPECT_TRUE(slow.worn());
}

TEST(Grammar, WritesRangesOfCharactersAsUtf8) {
  for (int i = 0; i < 40; ++i) {
    const auto random = [&](int k) {
      constexpr double kLimits[] = {0x80, 0x900, 0x11000, 0x110000};
      return static_cast<char32_t>(uniform(7, static_cast<uint64_t>(i), static_cast<uint64_t>(k)) *
                                   kLimits[i % 4]);
    };
    const CodeRange range = std::minmax(random(0), random(1));
    Grammar g("range");
    g.define("start", g.characters({range}));
    if (range.first >= 0xD800 && range.second < 0xE000) continue;
    Automaton a = automaton_of(g);
    for (char32_t code = 0; code <= 0x10FFFF; code += (code < 0x3000 || i % 4 == 2 ? 1 : 61)) {
      if (code >= 0xD800 && code < 0xE000) continue;
      std::string text;
      append_utf8(text, code);
      ASSERT_EQ(takes(a, text), range.first <= code && code <= range.second) << static_cast<uint32_t>(code);
    }
    EXPECT_FALSE(takes(a, "\xED\xA0\x80")) << "a surrogate";
    EXPECT_FALSE(takes(a, "\xC0\x80")) << "too long a form";
  }
}

}  // namespace
}  // namespace dvlm
