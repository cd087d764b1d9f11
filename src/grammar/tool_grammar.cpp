#include "grammar/tool_grammar.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "grammar/code_ranges.h"
#include "grammar/json_schema.h"

namespace dvlm {

using json = nlohmann::ordered_json;

std::string tool_grammar_text(const std::vector<Tool>& tools, const ToolChoice& choice, TokenId begin,
                              TokenId end) {
  json out = {{"text", choice.text},
              {"parallel", choice.parallel},
              {"begin", begin},
              {"end", end},
              {"tools", json::array()}};
  for (const Tool& tool : tools)
    if (choice.only.empty() || choice.only == tool.name)
      out["tools"].push_back({{"name", tool.name}, {"parameters", tool.parameters}});
  return out.dump();
}

void parse_tool_grammar(Grammar& grammar, const std::string& text) {
  const json given = json::parse(text);
  std::vector<Expression> calls;
  for (const json& tool : given["tools"]) {
    const auto name = tool["name"].get<std::string>(), root = "arguments of " + name;
    try {
      parse_json_schema(grammar, tool["parameters"].get<std::string>(), JsonSpaces::usual, root);
    } catch (const Error& error) {
      fail("{}, of {}", error.what(), name);
    }
    calls.push_back(grammar.sequence({grammar.literal("\n{\"name\": \"" + name + "\", \"arguments\": "),
                                      grammar.rule(root), grammar.literal("}\n")}));
  }
  grammar.define("call", grammar.sequence({grammar.token(given["begin"].get<TokenId>()),
                                           grammar.any_of(std::move(calls)),
                                           grammar.token(given["end"].get<TokenId>())}));
  const Expression call = grammar.rule("call");
  const Expression more = grammar.sequence({grammar.literal("\n"), call});
  const bool parallel = given["parallel"].get<bool>();
  const Expression all =
      parallel ? grammar.sequence({call, grammar.repeat(more, 0, Grammar::kUnbounded)}) : call;
  if (!given["text"].get<bool>()) return grammar.define("root", all);
  const Expression words = grammar.repeat(grammar.characters({{0, kMaxCode}}), 0, Grammar::kUnbounded);
  grammar.define("root", grammar.sequence({words, grammar.repeat(all, 0, 1)}));
}

}  // namespace dvlm
