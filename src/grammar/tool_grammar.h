// Calls of functions as a grammar.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "text/tool_calls.h"

namespace dvlm {

struct ToolChoice {
  bool text = true;       // an answer may have no call, and text before one
  bool parallel = true;   // or at most one call
  std::string only = {};  // that tool; empty: any
};

// The text of a GrammarSource for tool calls: everything that read_tool_grammar() needs. `begin`, `end`: the
// tokens kToolCall and kToolCallEnd.
std::string tool_grammar_text(const std::vector<Tool>& tools, const ToolChoice& choice, TokenId begin,
                              TokenId end);

// Adds the rule root.
void parse_tool_grammar(Grammar& grammar, const std::string& text);

}  // namespace dvlm
