// JSON schemas as grammars.
#pragma once
#include <string_view>

#include "grammar/grammar.h"
#include "grammar/source.h"

namespace dvlm {

// Adds the rule `root`: JSON texts that the schema (draft 2020-12, docs/grammars.md) allows. Objects have the
// properties that it names, in its order, and others only where additionalProperties says so. Throws Error
// that names the place for what is malformed, contradicts itself, is nested more than 64 deep, or cannot be
// decided while text is written: such keywords are refused by name, as are unknown ones.
void parse_json_schema(Grammar& grammar, std::string_view text, JsonSpaces spaces,
                       const std::string& root = "root");

}  // namespace dvlm
