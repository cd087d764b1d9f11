#include <algorithm>

#include "synth/catalog.h"
#include "synth/phrases.h"
#include "synth/questions.h"
#include "text/benchmark_prompts.h"

namespace dvlm {

namespace {

// "The hammer is at the top left." and "There is no hammer." become the hammer's place elsewhere.
std::string other_place(const std::string& answer, Random& random) {
  constexpr std::string_view kThe = "The ", kNone = "There is no ";
  const bool none = answer.starts_with(kNone);
  const size_t begin = none ? kNone.size() : kThe.size(),
               end = none ? answer.size() - 1 : answer.find(" is ");
  return "The " + answer.substr(begin, end - begin) + " is " +
         place_phrase(static_cast<int>(random.below(kPlaces))) + ".";
}

// Another answer that a question of the type could have; empty for types that are not asked with options.
std::string other_answer(const Question& question, Random& random) {
  switch (question.type) {
    case QuestionType::what:
      return with_article(random_name(random));
    case QuestionType::where:
      return other_place(question.answer, random);
    case QuestionType::colour:
      return kColours[static_cast<size_t>(random.below(kColours.size()))].name;
    case QuestionType::count:
      return std::to_string(random.below(kMaxObjects + 1));
    default:
      return "";
  }
}

Question with_options(Question question, Random& random) {
  constexpr size_t kOptions = 4;
  std::vector<std::string> texts = {question.answer};
  while (texts.size() < kOptions)
    if (std::string other = other_answer(question, random); std::ranges::find(texts, other) == texts.end())
      texts.push_back(std::move(other));
  std::swap(texts[0], texts[static_cast<size_t>(random.below(kOptions))]);
  Options options;
  for (size_t i = 0; i < kOptions; ++i) options[static_cast<char>('A' + i)] = texts[i];
  question.text = choice_prompt("", question.text, options);
  question.answer = static_cast<char>('A' + (std::ranges::find(texts, question.answer) - texts.begin()));
  return question;
}

}  // namespace

Question as_in_benchmarks(Question question, Random& random) {
  const bool yes_no = question.answer == "yes" || question.answer == "no";
  const bool boxes = question.type == QuestionType::box || question.type == QuestionType::boxes;
  if (yes_no || boxes || is_long(question.type)) return question;
  const bool may_have_options = !other_answer(question, random).empty();
  // Where something is takes a sentence.
  if (question.type == QuestionType::where || (may_have_options && random.uniform() < 0.5))
    return with_options(std::move(question), random);
  question.text = word_prompt(question.text);
  return question;
}

}  // namespace dvlm
