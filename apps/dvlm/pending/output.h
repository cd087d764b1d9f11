// Answers as people and as programs read them.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace dvlm {

// The object that `dvlm run --json` prints; later tools rely on its fields (docs/cli.md).
nlohmann::json answer_json(const Answer& answer, const DecodeOptions& decode);

// One paragraph for --stats.
std::string stats_text(const Answer& answer, const DecodeOptions& decode);

// A table with one row per decoder, the first being the base of the speed-up.
struct Comparison {
  DecodeOptions decode;
  Answer answer;
};
std::string comparison_text(const std::vector<Comparison>& rows);

std::string bytes_text(double bytes);  // "1.5 GiB"

}  // namespace dvlm
