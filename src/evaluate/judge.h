// A model that says what an answer meant where the rules read nothing out of it.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "evaluate/endpoint.h"
#include "evaluate/predictions.h"

namespace dvlm {

// What the judge is asked. `row`: of a benchmark whose answers are options, or yes and no.
std::string judge_prompt(const std::string& task, const nlohmann::json& row, const std::string& answer);
// What its reply says: an option's letter, Z for none of them; Yes, No or Unknown; empty where it says
// neither.
std::string verdict_of(const std::string& task, const nlohmann::json& row, const std::string& reply);

// Asks about each answer that says something, that the rules decide nothing of and that this judge has not
// seen yet. What it says is kept in the answers' files, where they have any. Shows a progress bar. Throws
// Error when it cannot be asked.
void judge_answers(std::vector<PredictionSet>& sets, const EndpointOptions& judge, int parallel);

}  // namespace dvlm
