// Grammars in llama.cpp's notation.
#pragma once
#include <string_view>

#include "grammar/grammar.h"

namespace dvlm {

// Adds the rules of `text` to the grammar; `root` is where a text begins. name ::= ... | ..., "literals",
// sets [a-z] and [^...], ., ( ), * + ? {m} {m,} {m,n}, # comments; escapes \n \r \t \\ \" \[ \] \- \^ \xHH
// \uHHHH \UHHHHHHHH. Throws Error that names the line for what is malformed, nested deeper than 100
// parentheses or repeated more than 10,000 times; for tokens (<name>, <[id]>); and where no rule is called
// root.
void parse_gbnf(Grammar& grammar, std::string_view text);

}  // namespace dvlm
