// Answers as people read them (as programs do: engine/request_json.h).
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// One paragraph for --stats.
std::string stats_text(const Answer& answer, const DecodeOptions& decode);

// A table with one row per decoder, the first being the base of the speed-up.
struct Comparison {
  DecodeOptions decode;
  Answer answer;
};
std::string comparison_text(const std::vector<Comparison>& rows);

void print(std::string_view text);             // at once: more may be long in coming
void print_json(const nlohmann::json& value);  // a line; names of files that are no UTF-8 get U+FFFD

}  // namespace dvlm
