// What users write as a grammar.
#pragma once
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dvlm {

class Automaton;

enum class GrammarKind : uint8_t {
  regex,        // all of the answer matches it (grammar/regex.h)
  gbnf,         // llama.cpp's notation (grammar/gbnf.h)
  json_schema,  // the answer is JSON that the schema allows (grammar/json_schema.h)
  tool_calls,   // the answer calls tools (grammar/tool_grammar.h)
};

// Between the parts of a JSON text. Fixed spaces cost no passes; with any, the model writes what it is used
// to.
enum class JsonSpaces : uint8_t {
  usual,  // one behind : and , and a line and a tab for each item of an outermost list, as Qwen writes boxes
  none,
  any,  // up to two line ends or eight spaces at a time
};

struct GrammarSource {
  GrammarKind kind = GrammarKind::regex;
  std::string text;
  JsonSpaces spaces = JsonSpaces::usual;  // JSON schemas
  auto operator<=>(const GrammarSource&) const = default;
};

std::vector<std::string> json_spaces_names();
JsonSpaces json_spaces(std::string_view name);  // throws Error listing the names

// Throws GrammarError for what is malformed, not supported, or larger than the limits of Grammar,
// StackMachine and Automaton.
Automaton read_grammar(const GrammarSource& source);

}  // namespace dvlm
