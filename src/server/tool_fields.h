// What a request says about tools, in the words of three APIs.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "server/request_fields.h"

namespace dvlm {

// OpenAI's chat completions, its responses, and Anthropic's messages.
enum class ToolDialect { chat, responses, messages };

// "tools", "tool_choice" and "parallel_tool_calls", or what the dialect has for it. After read_extensions().
void read_tools(const ApiObject& body, const Tokenizer& tokenizer, ToolDialect dialect, ApiRequest& out);

// Arguments of calls in messages, "arguments" of chat completions and "input" of messages, become texts where
// they are objects: prompts show their members in the order that the model wrote. `text`: the messages as
// they came.
void keep_argument_order(nlohmann::json& messages, std::string_view text);

// A list of tools, or an input, in place of itself, with the order of its members, see
// keep_schemas_as_text(); and its text.
nlohmann::json list_as_text(std::string_view text);
std::string text_of_list(const nlohmann::json& list);

}  // namespace dvlm
