// How VLMEvalKit asks the questions of benchmarks (build_prompt of its data sets), as far as our own data are
// asked so, too.
#pragma once
#include <map>
#include <string>

namespace dvlm {

using Options = std::map<char, std::string>;  // by letter

// "Options:" and a line for each; empty where there are none.
std::string options_prompt(const Options& options);
// A question with options to choose from, or without. `hint`: empty: none.
std::string choice_prompt(const std::string& hint, const std::string& question, const Options& options);
// A question that a word or a few answer.
std::string word_prompt(const std::string& question);

}  // namespace dvlm
