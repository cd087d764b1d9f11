// Which option, or which of yes and no, a free answer means: VLMEvalKit's rules without a judge (utils/
// matching_util.py, dataset/utils/yorn.py and dataset/image_mcq.py of ms-vlmeval 0.0.20).
#pragma once
#include <string>

#include "text/benchmark_prompts.h"

namespace dvlm {

// The letter of the one option that the answer names by its letter or else by its text; 'Z' for a refusal or
// a Z; 0 where the rules decide nothing.
char option_of(const std::string& answer, const Options& options);

// What stands behind "Answer:" in the one line that begins with it, else the whole answer.
std::string last_line_answer(const std::string& answer);

// "Yes", "No", or "Unknown" where the answer has both words or neither.
std::string yes_or_no(const std::string& answer);

}  // namespace dvlm
