#include "text/benchmark_prompts.h"

#include <fmt/format.h>

namespace dvlm {

std::string options_prompt(const Options& options) {
  std::string out;
  for (const auto& [letter, text] : options) out += fmt::format("{}. {}\n", letter, text);
  return out.empty() ? out : "Options:\n" + out;
}

std::string choice_prompt(const std::string& hint, const std::string& question, const Options& options) {
  const std::string begin = hint.empty() ? "" : fmt::format("Hint: {}\n", hint),
                    list = options_prompt(options);
  return fmt::format("{}Question: {}\n{}{}", begin, question, list,
                     list.empty() ? "" : "Please select the correct answer from the options above. \n");
}

std::string word_prompt(const std::string& question) {
  return question + "\nAnswer the question using a single word or phrase.";
}

}  // namespace dvlm
