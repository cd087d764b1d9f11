// What a request says about the form of its answer.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "server/request_fields.h"

namespace dvlm {

// JSON schemas of a request name properties in an order that answers keep and parsed JSON forgets: they
// become strings, as they stand in `text`, which `body` was parsed from.
void keep_schemas_as_text(nlohmann::json& body, std::string_view text);

// OpenAI's "response_format" and vLLM's "structured_outputs". After read_extensions(), which says what spaces
// JSON has.
void read_answer_form(const ApiObject& body, ApiRequest& out);
// SGLang's "json_schema", "regex" and "ebnf" of "sampling_params".
void read_generate_form(const ApiObject& sampling, ApiRequest& out);

// OpenAI's "tools", "tool_choice" and "parallel_tool_calls". After read_extensions().
void read_tools(const ApiObject& body, const Tokenizer& tokenizer, ApiRequest& out);

FieldRules answer_form_fields();        // "response_format"
FieldRules structured_output_fields();  // "structured_outputs"

}  // namespace dvlm
