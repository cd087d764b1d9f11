#include "evaluate/vqa.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "core/edit_distance.h"
#include "core/utf8.h"
#include "evaluate/python_text.h"

namespace dvlm {

namespace {

constexpr double kTolerance = 0.05;  // ChartQA's
constexpr double kLeastAlike = 0.5;  // DocVQA's: texts that differ more are not the same text misread

bool is_digit(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_ND;
}

bool has_comma_in_number(const std::u32string& text) {
  for (size_t i = 1; i + 1 < text.size(); ++i)
    if (text[i] == ',' && is_digit(text[i - 1]) && is_digit(text[i + 1])) return true;
  return false;
}

// The first 32 only: the rule hands re.UNICODE (32) to re.sub where that takes a count.
std::string without_full_stops(const std::string& text) {
  constexpr int kMost = 32;
  const std::u32string all = code_points(text);
  std::string out;
  int removed = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool beside = (i > 0 && is_digit(all[i - 1])) || (i + 1 < all.size() && is_digit(all[i + 1]));
    if (all[i] == '.' && !beside && removed < kMost)
      ++removed;
    else
      append_utf8(out, all[i]);
  }
  return out;
}

const std::map<std::string, std::string, std::less<>> kNumbers = {
    {"none", "0"}, {"zero", "0"}, {"one", "1"},   {"two", "2"},   {"three", "3"}, {"four", "4"},
    {"five", "5"}, {"six", "6"},  {"seven", "7"}, {"eight", "8"}, {"nine", "9"},  {"ten", "10"}};

// Those of the VQA challenge's script that a word in lower case can be.
const std::map<std::string, std::string, std::less<>> kContractions = {
    {"'ow'sat", "'ow's'at"},
    {"'ows'at", "'ow's'at"},
    {"aint", "ain't"},
    {"arent", "aren't"},
    {"cant", "can't"},
    {"couldn'tve", "couldn't've"},
    {"couldnt", "couldn't"},
    {"couldnt've", "couldn't've"},
    {"couldve", "could've"},
    {"didnt", "didn't"},
    {"doesnt", "doesn't"},
    {"dont", "don't"},
    {"hadn'tve", "hadn't've"},
    {"hadnt", "hadn't"},
    {"hadnt've", "hadn't've"},
    {"hasnt", "hasn't"},
    {"havent", "haven't"},
    {"he'dve", "he'd've"},
    {"hed", "he'd"},
    {"hed've", "he'd've"},
    {"hes", "he's"},
    {"howd", "how'd"},
    {"howll", "how'll"},
    {"hows", "how's"},
    {"isnt", "isn't"},
    {"it'dve", "it'd've"},
    {"itd", "it'd"},
    {"itd've", "it'd've"},
    {"itll", "it'll"},
    {"maam", "ma'am"},
    {"mightn'tve", "mightn't've"},
    {"mightnt", "mightn't"},
    {"mightnt've", "mightn't've"},
    {"mightve", "might've"},
    {"mustnt", "mustn't"},
    {"mustve", "must've"},
    {"neednt", "needn't"},
    {"notve", "not've"},
    {"oclock", "o'clock"},
    {"oughtnt", "oughtn't"},
    {"ow's'at", "'ow's'at"},
    {"shant", "shan't"},
    {"she'dve", "she'd've"},
    {"shed've", "she'd've"},
    {"shouldn'tve", "shouldn't've"},
    {"shouldnt", "shouldn't"},
    {"shouldnt've", "shouldn't've"},
    {"shouldve", "should've"},
    {"somebody'd", "somebodyd"},
    {"somebody'dve", "somebody'd've"},
    {"somebodyd've", "somebody'd've"},
    {"somebodyll", "somebody'll"},
    {"somebodys", "somebody's"},
    {"someone'dve", "someone'd've"},
    {"someoned", "someone'd"},
    {"someoned've", "someone'd've"},
    {"someonell", "someone'll"},
    {"someones", "someone's"},
    {"something'dve", "something'd've"},
    {"somethingd", "something'd"},
    {"somethingd've", "something'd've"},
    {"somethingll", "something'll"},
    {"thats", "that's"},
    {"there'dve", "there'd've"},
    {"thered", "there'd"},
    {"thered've", "there'd've"},
    {"therere", "there're"},
    {"theres", "there's"},
    {"they'dve", "they'd've"},
    {"theyd", "they'd"},
    {"theyd've", "they'd've"},
    {"theyll", "they'll"},
    {"theyre", "they're"},
    {"theyve", "they've"},
    {"twas", "'twas"},
    {"wasnt", "wasn't"},
    {"we'dve", "we'd've"},
    {"wed've", "we'd've"},
    {"werent", "weren't"},
    {"weve", "we've"},
    {"whatll", "what'll"},
    {"whatre", "what're"},
    {"whats", "what's"},
    {"whatve", "what've"},
    {"whens", "when's"},
    {"whered", "where'd"},
    {"wheres", "where's"},
    {"whereve", "where've"},
    {"who'dve", "who'd've"},
    {"whod", "who'd"},
    {"whod've", "who'd've"},
    {"wholl", "who'll"},
    {"whos", "who's"},
    {"whove", "who've"},
    {"whyll", "why'll"},
    {"whyre", "why're"},
    {"whys", "why's"},
    {"wont", "won't"},
    {"wouldn'tve", "wouldn't've"},
    {"wouldnt", "wouldn't"},
    {"wouldnt've", "wouldn't've"},
    {"wouldve", "would've"},
    {"y'all'dve", "y'all'd've"},
    {"y'alld've", "y'all'd've"},
    {"y'allll", "y'all'll"},
    {"yall", "y'all"},
    {"yall'd've", "y'all'd've"},
    {"yall'll", "y'all'll"},
    {"you'dve", "you'd've"},
    {"youd", "you'd"},
    {"youd've", "you'd've"},
    {"youll", "you'll"},
    {"youre", "you're"},
    {"youve", "you've"},
};

std::string normalised(const std::string& answer) {
  std::string text = answer;
  std::ranges::replace_if(
      text, [](char c) { return c == '\n' || c == '\t'; }, ' ');
  std::string out;
  for (std::string& word : python::split(python::lower(without_punctuation(python::strip(text))))) {
    if (const auto number = kNumbers.find(word); number != kNumbers.end()) word = number->second;
    if (word == "a" || word == "an" || word == "the") continue;
    if (const auto whole = kContractions.find(word); whole != kContractions.end()) word = whole->second;
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

template <class Score>
double best(const std::vector<std::string>& references, const Score& score) {
  double out = 0;
  for (const std::string& reference : references) out = std::max(out, score(reference));
  return out;
}

std::optional<double> number_of(const std::string& text) {
  if (!text.ends_with('%')) return python::to_float(text);
  const auto percent = python::to_float(text.substr(0, text.find_last_not_of('%') + 1));
  return percent ? std::optional(*percent / 100) : std::nullopt;
}

std::string joined(const std::string& text) {
  std::string out;
  for (const std::string& word : python::split(python::lower(text))) out += (out.empty() ? "" : " ") + word;
  return out;
}

}  // namespace

std::string without_punctuation(const std::string& text) {
  constexpr std::string_view kPunctuation = ";/[]\"{}()=+\\_-><@`,?!";
  const bool number = has_comma_in_number(code_points(text));
  std::string out = text;
  for (const char mark : kPunctuation) {
    const std::string before{mark, ' '}, behind{' ', mark};
    const bool gone = number || text.find(before) != text.npos || text.find(behind) != text.npos;
    out = python::replaced(std::move(out), std::string_view(&mark, 1), gone ? "" : " ");
  }
  return without_full_stops(out);
}

double vqa_score(const std::vector<std::string>& references, const std::string& answer) {
  const std::string given = normalised(answer);
  const auto equal =
      std::ranges::count_if(references, [&](const std::string& text) { return normalised(text) == given; });
  double sum = 0;
  for (const std::string& reference : references) {
    const auto others = equal - (normalised(reference) == given ? 1 : 0);
    sum += std::min(1.0, static_cast<double>(others) / 3);
  }
  return references.empty() ? 0 : sum / static_cast<double>(references.size());
}

double relaxed_score(const std::vector<std::string>& references, const std::string& raw) {
  const std::string answer = python::strip(raw);
  const auto value = number_of(answer);
  return best(references, [&](const std::string& reference) -> double {
    const auto target = number_of(reference);
    if (value && target && *target != 0) return std::abs(*value - *target) / std::abs(*target) <= kTolerance;
    return python::lower(answer) == python::lower(reference);
  });
}

double anls_score(const std::vector<std::string>& references, const std::string& answer) {
  const double alike = best(references, [&](const std::string& reference) {
    const size_t longer = std::max(python::upper_length(reference), python::upper_length(answer));
    const size_t distance = edit_distance(code_points(joined(reference)), code_points(joined(answer)));
    return longer == 0 ? 1 : 1 - static_cast<double>(distance) / static_cast<double>(longer);
  });
  return alike < kLeastAlike ? 0 : alike;
}

double equal_score(const std::vector<std::string>& references, const std::string& answer) {
  const std::string given = python::lower(python::strip(answer));
  const auto equal = std::ranges::count_if(
      references, [&](const std::string& text) { return python::lower(python::strip(text)) == given; });
  return references.empty() ? 0 : static_cast<double>(equal) / static_cast<double>(references.size());
}

}  // namespace dvlm
