// Several patterns and lengths of one string, against PCRE2.
#include "grammar/common_texts.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"
#include "grammar/automaton.h"
#include "grammar/reference_regex.h"
#include "grammar/takes.h"

namespace dvlm {
namespace {

std::string random_pattern(Random& random, int depth = 0) {
  switch (random.below(depth < 3 ? 8 : 3)) {
    case 0:
      return "a";
    case 1:
      return "b";
    case 2:
      return "[^a]";
    case 3:
      return random_pattern(random, depth + 1) + random_pattern(random, depth + 1);
    case 4:
      return "(" + random_pattern(random, depth + 1) + "|" + random_pattern(random, depth + 1) + ")";
    case 5:
      return "(" + random_pattern(random, depth + 1) + ")*";
    case 6:
      return "(" + random_pattern(random, depth + 1) + "){1,2}";
    default:
      return "." + random_pattern(random, depth + 1);
  }
}

// All texts of a, b and c of up to so many characters.
std::vector<std::string> texts(size_t most) {
  std::vector<std::string> out = {""};
  for (size_t i = 0; i < out.size() && out[i].size() < most; ++i)
    for (const char c : {'a', 'b', 'c'}) out.push_back(out[i] + c);
  return out;
}

TEST(CommonTexts, are_what_all_patterns_match) {
  const std::vector<std::string> all = texts(6);
  Random random(11);
  int right = 0, wrong = 0, impossible = 0;
  for (int i = 0; i < 60; ++i) {
    std::vector<std::string> patterns;
    for (int64_t count = 1 + random.below(3); count > 0; --count) {
      const std::string pattern = random_pattern(random);
      patterns.push_back((random.below(3) ? "^" : "") + pattern + (random.below(3) ? "$" : ""));
    }
    const int least = static_cast<int>(random.below(4));
    const int most = random.below(3) ? least + static_cast<int>(random.below(4)) : Grammar::kUnbounded;
    Grammar grammar("test");
    const RegexOptions options{.anywhere = true, .write = [&](const std::vector<CodeRange>& ranges) {
                                 return grammar.characters(ranges);
                               }};
    grammar.define("root", common_texts(grammar, patterns, least, most, options));
    std::optional<Automaton> automaton;
    try {
      automaton.emplace(StackMachine(grammar, "root"), "test");
    } catch (const Error&) {  // no text is one
      ++impossible;
    }
    std::vector<ReferenceRegex> references;
    for (const std::string& pattern : patterns) references.emplace_back(pattern, true);
    for (const std::string& text : all) {
      const auto size = static_cast<int>(text.size());
      bool expected = size >= least && (most == Grammar::kUnbounded || size <= most);
      for (const ReferenceRegex& reference : references) expected = expected && reference.takes(text);
      ASSERT_EQ(automaton && takes(*automaton, text), expected)
          << text << " " << testing::PrintToString(patterns) << " " << least << " " << most;
      ++(expected ? right : wrong);
    }
  }
  EXPECT_GT(right, 3000);
  EXPECT_GT(wrong, 5000);
  EXPECT_LT(impossible, 30);
}

TEST(CommonTexts, that_are_too_many_are_refused) {
  const auto options_of = [](Grammar& grammar) {
    return RegexOptions{.anywhere = true, .write = [&](const std::vector<CodeRange>& ranges) {
                          return grammar.characters(ranges);
                        }};
  };
  Grammar grammar("test");
  const RegexOptions options = options_of(grammar);
  EXPECT_THROW(common_texts(grammar, {"a.{18}", "b.{9}c.{9}"}, 0, 1000, options), Error);
  EXPECT_NO_THROW(common_texts(grammar, {"^[a-z]+(-[0-9]+)*$"}, 1, 2000, options));
  // Whose sets of states are as large as the texts are long, and of which a schema may hold thousands.
  EXPECT_THROW(common_texts(grammar, {"^(a{0,300}){0,30}$"}, 0, 9000, options), Error);
  Grammar many("test");
  EXPECT_THROW(for (int i = 0; i < 20'000; ++i)
                   common_texts(many, {"a{0,9000}" + std::to_string(i)}, 1, 2, options_of(many)),
               Error);
  Grammar twice("test");
  for (int i = 0; i < 20'000; ++i) common_texts(twice, {"^[a-z]{1,9}$"}, 3, 7, options_of(twice));
}

}  // namespace
}  // namespace dvlm
