#include "grammar/source.h"

#include "grammar/automaton.h"
#include "grammar/gbnf.h"
#include "grammar/grammar_error.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/tool_grammar.h"

namespace dvlm {

namespace {

constexpr std::pair<std::string_view, JsonSpaces> kSpacesNames[] = {
    {"usual", JsonSpaces::usual}, {"none", JsonSpaces::none}, {"any", JsonSpaces::any}};

}  // namespace

std::vector<std::string> json_spaces_names() {
  std::vector<std::string> out;
  for (const auto& [name, spaces] : kSpacesNames) out.emplace_back(name);
  return out;
}

JsonSpaces json_spaces(std::string_view name) {
  for (const auto& [known, spaces] : kSpacesNames)
    if (known == name) return spaces;
  fail("there are no spaces \"{}\"; choose usual, none or any", printable(name));
}

Automaton read_grammar(const GrammarSource& source) try {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr const char* kNames[] = {"the regular expression", "the grammar", "the JSON schema",
                                           "the parameters of a tool"};
  Grammar grammar(kNames[static_cast<size_t>(source.kind)]);
  if (source.text.size() > kMaxBytes)
    fail("{} has {} bytes, but at most {} are read", grammar.origin(), source.text.size(), kMaxBytes);
  switch (source.kind) {
    case GrammarKind::regex:
      grammar.define("root", parse_regex(grammar, source.text));
      break;
    case GrammarKind::gbnf:
      parse_gbnf(grammar, source.text);
      break;
    case GrammarKind::json_schema:
      parse_json_schema(grammar, source.text, source.spaces);
      break;
    case GrammarKind::tool_calls:
      parse_tool_grammar(grammar, source.text);
      break;
  }
  return Automaton(StackMachine(grammar, "root"), grammar.origin());
} catch (const GrammarError&) {
  throw;
} catch (const Error& error) {
  throw GrammarError(error.what());
}

}  // namespace dvlm
