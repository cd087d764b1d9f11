// Regular expressions as grammars: what ECMAScript, Python and JSON schemas have in common and a regular
// language can be.
#pragma once
#include <functional>
#include <string_view>

#include "grammar/grammar.h"

namespace dvlm {

// How a character of a set is written: as UTF-8, or escaped inside a JSON string.
using WriteCharacter = std::function<Expression(const std::vector<CodeRange>&)>;

struct RegexOptions {
  // The pattern may be found anywhere in the text, as in JSON schemas, unless ^ and $ say where; else it is
  // all of the text.
  bool anywhere = false;
  WriteCharacter write = {};  // empty: UTF-8
};

// Adds the pattern to the grammar. Characters, escapes, ECMAScript's classes \d \w \s, groups, |, and * + ?
// {m,n}; lazy quantifiers match the same texts. Throws Error that names the place for what is malformed,
// nested deeper than 100 groups, or not regular: lookaround, backreferences, \b, and ^ and $ inside; also \p,
// flags and repetitions of more than 10,000.
Expression parse_regex(Grammar& grammar, std::string_view pattern, const RegexOptions& options = {});

}  // namespace dvlm
