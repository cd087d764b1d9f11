// Which benchmark a file is, and what its rows hold.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "evaluate/choices.h"

namespace dvlm {

enum class Rule { choice, circular, mmmu, mmmu_pro, vision_alone, vqa, relaxed, anls, equal, yes_no };

// By the beginning of the task's name. Throws Error listing the benchmarks.
Rule rule_of(const std::string& task);
bool may_be_open(Rule rule);           // whether some of its questions have no options
bool thinks(const std::string& task);  // whether its questions ask for thoughts before the answer

// A column that must be there. Throws Error naming it.
std::string column_of(const nlohmann::json& row, const char* column);
Options options_of(const nlohmann::json& row);
// The same, but an open question of MMMU is one between its answer and anything else.
Options scored_options(Rule rule, const nlohmann::json& row);

}  // namespace dvlm
