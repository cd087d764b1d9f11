// Questions about bar and line charts, in the manner of ChartQA.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "synth/phrases.h"

namespace dvlm {

namespace {

const PaperEntry& extreme_of(const Paper& chart, bool highest) {
  const auto less = [](const PaperEntry& a, const PaperEntry& b) { return a.number < b.number; };
  const auto [low, high] = std::minmax_element(chart.entries.begin(), chart.entries.end(), less);
  return highest ? *high : *low;
}

// Two different entries in random order.
struct TwoEntries {
  const PaperEntry &a, &b;
};
TwoEntries draw_two(const Paper& chart, Random& random) {
  const auto count = static_cast<int64_t>(chart.entries.size());
  const int64_t first = random.below(count), step = 1 + random.below(count - 1);
  return {chart.entries[static_cast<size_t>(first)],
          chart.entries[static_cast<size_t>((first + step) % count)]};
}

// For half of the questions the two whose values are nearest: what is easy to confuse is asked about as often
// as what is not.
TwoEntries draw_rivals(const Paper& chart, Random& random) {
  if (random.uniform() < 0.5) return draw_two(chart, random);
  std::vector<const PaperEntry*> sorted;
  for (const PaperEntry& entry : chart.entries) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, &PaperEntry::number);
  size_t nearest = 1;
  for (size_t i = 2; i < sorted.size(); ++i)
    if (sorted[i]->number - sorted[i - 1]->number < sorted[nearest]->number - sorted[nearest - 1]->number)
      nearest = i;
  const bool upward = random.uniform() < 0.5;
  return upward ? TwoEntries{*sorted[nearest - 1], *sorted[nearest]}
                : TwoEntries{*sorted[nearest], *sorted[nearest - 1]};
}

}  // namespace

std::optional<Question> ask_chart_value(const Paper& chart, Random& random) {
  const PaperEntry& entry = pick(chart.entries, random);
  const std::string text = phrase(random,
                                  {"What is the value of {}?", "Which value does {} have?",
                                   "How many are there for {}?", "Read the value of {}."},
                                  entry.name);
  return Question{QuestionType::chart_value, text, entry.text, "chart value " + entry.name};
}

std::optional<Question> ask_chart_extreme(const Paper& chart, Random& random) {
  const bool highest = random.uniform() < 0.5, value = random.uniform() < 0.3;
  const PaperEntry& entry = extreme_of(chart, highest);
  const std::string word = highest ? "highest" : "lowest";
  const std::string key = "chart extreme " + word + (value ? " value" : "");
  if (value)
    return Question{QuestionType::chart_extreme,
                    phrase(random, {"What is the {} value?", "Which is the {} value in the chart?"}, word),
                    entry.text, key};
  const std::string text = phrase(
      random, {"Which [] has the {} value?", "Which [] is the {}?", "What is the [] with the {} value?"},
      word, chart.noun);
  return Question{QuestionType::chart_extreme, text, entry.name, key};
}

std::optional<Question> ask_chart_count(const Paper& chart, Random& random) {
  const std::string plural = chart.kind == PaperKind::line ? "points" : "bars";
  const std::string text =
      phrase(random, {"How many {} are there?", "How many {} does the chart have?", "Count the {}."}, plural);
  return Question{QuestionType::chart_count, text, std::to_string(chart.entries.size()), "chart count"};
}

std::optional<Question> ask_chart_sum(const Paper& chart, Random& random) {
  const auto [a, b] = draw_two(chart, random);
  const std::string &first = std::min(a.name, b.name), &second = std::max(a.name, b.name);
  if (random.uniform() < 0.5) {
    const std::string text = phrase(
        random,
        {"What is the sum of {} and []?", "How many are {} and [] together?", "Add the values of {} and []."},
        a.name, b.name);
    return Question{QuestionType::chart_sum, text, std::to_string(a.number + b.number),
                    "chart sum " + first + " " + second};
  }
  const std::string text = phrase(
      random, {"What is the difference between {} and []?", "How far apart are {} and []?"}, a.name, b.name);
  return Question{QuestionType::chart_sum, text, std::to_string(std::abs(a.number - b.number)),
                  "chart difference " + first + " " + second};
}

std::optional<Question> ask_chart_compare(const Paper& chart, Random& random) {
  const auto [a, b] = draw_rivals(chart, random);
  const bool above = random.uniform() < 0.5;
  const std::string text =
      phrase(random,
             {above ? "Is {} above []?" : "Is {} below []?",
              above ? "Is the value of {} above that of []?" : "Is the value of {} below that of []?",
              above ? "Yes or no: is {} above []?" : "Yes or no: is {} below []?"},
             a.name, b.name);
  const bool yes = above == (a.number > b.number);
  return Question{QuestionType::chart_compare, text, yes ? "yes" : "no",
                  "chart compare " + a.name + (above ? " above " : " below ") + b.name};
}

std::optional<Question> ask_chart_title(const Paper& chart, Random& random) {
  const std::string text = phrase(random, {"What is the title of the chart?", "What does the chart show?",
                                           "Read the title.", "What is written above the chart?"});
  return Question{QuestionType::chart_title, text, chart.title, "chart title"};
}

std::optional<Question> ask_chart_table(const Paper& chart, Random& random) {
  std::string rows;
  for (const PaperEntry& entry : chart.entries)
    rows += fmt::format("{}\t{{\"label\": \"{}\", \"value\": {}}}", rows.empty() ? "" : ",\n", entry.name,
                        entry.text);
  const std::string text =
      phrase(random, {"Read the chart as JSON.", "Output all values of the chart in JSON.",
                      "Give me the table of the chart as JSON.", "List every value. Answer in JSON."});
  return Question{QuestionType::chart_table, text, "```json\n[\n" + rows + "\n]\n```", "chart table"};
}

std::optional<Question> ask_chart_describe(const Paper& chart, Random& random) {
  std::string answer = fmt::format("The {} shows \"{}\" with {} {}.", kind_name(chart.kind), chart.title,
                                   chart.entries.size(), chart.kind == PaperKind::line ? "points" : "bars");
  for (const PaperEntry& entry : chart.entries)
    answer += fmt::format(" The value of {} is {}.", entry.name, entry.text);
  const PaperEntry &high = extreme_of(chart, true), &low = extreme_of(chart, false);
  answer += fmt::format(" The highest is {} and the lowest is {}.", high.name, low.name);
  const std::string text = phrase(random, {"Describe the chart.", "Describe the picture.",
                                           "Describe this image.", "What can you read in the chart?"});
  return Question{QuestionType::chart_describe, text, answer, "chart describe"};
}

}  // namespace dvlm
