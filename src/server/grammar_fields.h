// What a request says about the form of its answer.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
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

// A form whose members stand side by side: "text.format" of OpenAI's responses, "output_config.format" of
// Anthropic's messages. `field`: its name. After read_extensions().
void read_flat_form(const nlohmann::json& given, const std::string& field, ApiRequest& out);

// Throws FieldError for "dvlm.json_spaces" of a form that is no JSON schema. `field`: where one could stand.
// After all forms are read.
void check_spaces(const std::string& field, const ApiRequest& out);

// The form of the answer, of which `field` speaks. Throws FieldError where there is one already, and for
// decoders that follow none.
void set_form(ApiRequest& out, const std::string& field, GrammarKind kind, std::string text,
              JsonSpaces spaces);

FieldRules answer_form_fields();        // "response_format"
FieldRules structured_output_fields();  // "structured_outputs"

}  // namespace dvlm
