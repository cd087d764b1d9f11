#include "evaluate/choices.h"

#include <algorithm>
#include <array>
#include <set>

#include "evaluate/python_text.h"
#include "evaluate/vqa.h"

namespace dvlm {

namespace {

bool is_refusal(const std::string& answer) {
  constexpr std::array<std::string_view, 4> kRefusals = {
      "Sorry, I can't help with images of people yet.", "I can't process this file.",
      "I'm sorry, but without the image provided", "Cannot determine the answer"};
  return std::ranges::any_of(kRefusals,
                             [&](std::string_view text) { return answer.find(text) != std::string::npos; });
}

char letter_of(const std::string& answer, const Options& options) {
  constexpr size_t kLast = 5;  // words: an "A" before them is more likely an article
  if (answer.find("Failed to obtain answer via API") != std::string::npos) return 0;
  if (is_refusal(answer)) return 'Z';
  std::string text = answer;
  std::ranges::replace_if(
      text, [](char c) { return std::string_view(".()[],:;!*#{}").find(c) != std::string_view::npos; }, ' ');
  const std::vector<std::string> words = python::split(text);
  const auto find = [&](char letter) { return std::ranges::find(words, std::string(1, letter)); };
  const auto named =
      std::ranges::count_if(options, [&](const auto& option) { return find(option.first) != words.end(); });
  if (named == 0) return find('Z') != words.end() ? 'Z' : 0;
  if (named > 1) return 0;
  for (const auto& [letter, unused] : options)
    if (const auto at = find(letter); at != words.end())
      return static_cast<size_t>(at - words.begin()) + kLast > words.size() ? letter : 0;
  return 0;
}

char text_of(const std::string& raw, const Options& options) {
  const std::string answer = python::lower(raw);
  size_t all = 0, found = 0;
  for (const auto& [letter, text] : options) all += python::length(text);
  if (python::length(answer) > 2 * all) return 0;
  char out = 0;
  for (const auto& [letter, text] : options)
    if (answer.find(python::lower(text)) != std::string::npos) out = letter, ++found;
  return found == 1 ? out : 0;
}

}  // namespace

char option_of(const std::string& answer, const Options& options) {
  const char letter = letter_of(answer, options);
  return letter != 0 ? letter : text_of(answer, options);
}

std::string last_line_answer(const std::string& answer) {
  constexpr std::string_view kMark = "Answer:";
  const std::string whole = python::strip(answer);
  std::vector<std::string> found;
  for (size_t at = 0; at <= whole.size();) {
    const size_t end = std::min(whole.find('\n', at), whole.size());
    if (std::string line = python::strip(std::string_view(whole).substr(at, end - at));
        line.starts_with(kMark))
      found.push_back(std::move(line));
    at = end + 1;
  }
  if (found.size() != 1) return answer;
  // The A of "Answer" counts, too: a lone letter is found by option_of() as well.
  std::set<char> letters;
  for (const char c : found[0])
    if (c >= 'A' && c <= 'Z') letters.insert(c);
  return letters.size() == 1 ? std::string(1, *letters.begin()) : found[0].substr(kMark.size());
}

std::string yes_or_no(const std::string& answer) {
  const std::vector<std::string> words = python::split(without_punctuation(python::lower(answer)));
  const auto says = [&](const char* word) { return std::ranges::find(words, word) != words.end(); };
  if (says("yes") == says("no")) return "Unknown";
  return says("yes") ? "Yes" : "No";
}

}  // namespace dvlm
