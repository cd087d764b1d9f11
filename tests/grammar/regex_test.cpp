#include "grammar/regex.h"

#include <gmock/gmock.h>

#include <memory>
#include <random>

#include "core/error.h"
#include "grammar/reference_regex.h"
#include "grammar/takes.h"

namespace dvlm {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Automaton regex_automaton(const std::string& pattern, bool anywhere = false) {
  Grammar g("--regex");
  g.define("start", parse_regex(g, pattern, {.anywhere = anywhere}));
  return {StackMachine(g, "start"), g.origin()};
}

// Patterns and texts over few letters, so that they often meet.
class RandomPatterns {
 public:
  explicit RandomPatterns(unsigned seed) : engine_(seed) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<unsigned>(n)); }
  std::string pattern(int depth) {
    std::string out;
    for (int i = below(3) + 1; i > 0; --i) out += atom(depth) + quantifier();
    if (depth > 0 && below(4) == 0) out += "|" + pattern(depth - 1);
    return out;
  }
  std::string text() {
    std::string out;
    for (int i = below(7); i > 0; --i) out += letter();
    return out;
  }

 private:
  std::string letter() {
    constexpr const char* kLetters[] = {"a", "b", "c", "-", "1", "é", "日", "😀", "_"};
    return kLetters[below(std::size(kLetters))];
  }
  std::string atom(int depth) {
    switch (below(depth > 0 ? 9 : 6)) {
      case 0:
        return ".";
      case 1:
        return std::string("[") + (below(2) ? "^" : "") + letter() + "a-c" + "\\d]";
      case 2:
        return below(2) ? "\\d" : "\\W";
      case 3:
        return "\\u"
               "0061" +
               std::string();
      case 6:
      case 7:
        return "(" + pattern(depth - 1) + ")";
      case 8:
        return "(?:" + pattern(depth - 1) + ")";
      default:
        return letter();
    }
  }
  std::string quantifier() {
    constexpr const char* kQuantifiers[] = {"", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"};
    return kQuantifiers[below(std::size(kQuantifiers))];
  }
  std::mt19937 engine_;
};

TEST(Regex, MatchesWhatPcre2Matches) {
  int matched = 0;
  for (unsigned seed = 0; seed < 1500; ++seed) {
    RandomPatterns random(seed);
    const bool anywhere = seed % 2 == 0;
    std::string pattern = random.pattern(2), theirs = pattern;
    for (size_t at; (at = theirs.find("\\u0061")) != std::string::npos;) theirs.replace(at, 6, "\\x61");
    Automaton ours = regex_automaton(pattern, anywhere);
    const ReferenceRegex reference(theirs, anywhere);
    for (int i = 0; i < 30; ++i) {
      const std::string text = random.text();
      const bool expected = reference.takes(text);
      ASSERT_EQ(takes(ours, text), expected) << pattern << " and \"" << text << "\", anywhere: " << anywhere;
      matched += expected;
    }
  }
  EXPECT_GT(matched, 5000) << "or nothing was compared";
}

TEST(Regex, ReadsWhatPeopleWrite) {
  const auto match = [](const std::string& pattern, std::string_view text) {
    Automaton a = regex_automaton(pattern);
    return takes(a, text);
  };
  EXPECT_TRUE(match("^\\d{4}-\\d{2}-\\d{2}$", "2026-11-29"));
  EXPECT_TRUE(match("(?P<year>\\d+)(?<month>x)?", "7"));
  EXPECT_TRUE(match("[\\w.+-]+@[a-z]+\\.(com|org)", "a.b+c@example.org"));
  EXPECT_TRUE(match("\\ud83d\\ude00\\u{1F600}", "😀😀"));
  EXPECT_TRUE(match("a{2{x}", "a{2{x}"));
  EXPECT_FALSE(match(".", "\n"));
  EXPECT_TRUE(match("[^a]", "\n"));
  Automaton either = regex_automaton("^a|b$", true);
  for (const char* text : {"a", "axx", "xxb", "ab"}) EXPECT_TRUE(takes(either, text)) << text;
  EXPECT_FALSE(takes(either, "xax"));
}

TEST(Regex, RefusesByNameWhatIsNotRegular) {
  const std::pair<const char*, const char*> cases[] = {
      {"a(?=b)", "(? begins"},
      {"(?<!a)b", "lookbehind"},
      {"(a)\\1", "\\1 is not regular"},
      {"\\bword", "\\b is not"},
      {"a^b", "^ stands inside"},
      {"(a$)", "$ stands inside"},
      {"\\p{L}", "\\p is not"},
      {"a++", "possessive"},
      {"a**", "is repeated"},
      {"*a", "nothing to repeat"},
      {"(a", "without its )"},
      {"a)", "without its ("},
      {"[a", "without its ]"},
      {"[b-a]", "ends before"},
      {"[]", "the set is empty"},
      {"a{3,2}", "ends before"},
      {"a{20000}", "10,000"},
      {"\\x1", "hexadecimal"},
      {"\\", "at the end"},
      {"(?<n", "has no end"},
      {"\xff", "not UTF-8"},
      {"\\u{110000}", "Unicode"},
      {"\\ud800\\u0061", "surrogates"},
  };
  for (const auto& refused : cases) {
    EXPECT_THAT([&] { regex_automaton(refused.first); }, ThrowsMessage<Error>(HasSubstr(refused.second)))
        << refused.first;
  }
  std::string deep;
  for (int i = 0; i < 101; ++i) deep += "(";
  EXPECT_THAT([&] { regex_automaton(deep); }, ThrowsMessage<Error>(HasSubstr("100 deep")));
}

}  // namespace
}  // namespace dvlm
