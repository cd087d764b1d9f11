// Functions that a model may call, and calls in its answers, in the Hermes form of Qwen2.5
// (docs/reference.md, Tool calls).
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace dvlm {

struct Tool {
  std::string name;        // 1 to 64 of A-Z a-z 0-9 _ - .
  std::string text;        // the whole declaration, as the template shows it
  std::string parameters;  // a JSON schema
};

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON
  std::string id = {};    // by which its result names it; may be empty
};

bool is_tool_name(std::string_view name);

// OpenAI's list: {"type": "function", "function": {"name", "description", "parameters"}}. Throws Error naming
// the tool and field.
std::vector<Tool> parse_tools(const nlohmann::ordered_json& tools);

// Around each call. Tokens of their own where a tokenizer has them.
inline constexpr const char *kToolCall = "<tool_call>", *kToolCallEnd = "</tool_call>";

// Tells calls from other text while an answer is written.
class ToolCallReader {
 public:
  // What a piece of text added.
  struct CallPart {
    int call = 0;           // which call of the answer
    std::string name;       // not empty: the call begins here
    std::string arguments;  // a piece of them
  };
  struct Part {
    std::string content;
    std::vector<CallPart> calls;
  };
  Part push(std::string_view text);
  Part finish();  // what was held back, when the answer ends
  // The text ends with a call that is whole.
  bool called() const { return where_ == Where::behind; }

 private:
  enum class Where { content, head, arguments, behind };
  bool advance(Part& out);
  bool read_head(Part& out);

  Where where_ = Where::content;
  std::string held_;
  std::string arguments_;  // of the call that is read
  int calls_ = 0;
};

}  // namespace dvlm
