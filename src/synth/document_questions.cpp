// Questions about receipts, forms and notices, in the manner of DocVQA.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "synth/phrases.h"

namespace dvlm {

namespace {

// The first entry of a role; null where there is none.
const PaperEntry* entry_of(const Paper& paper, Role role) {
  const auto found = std::ranges::find(paper.entries, role, &PaperEntry::role);
  return found == paper.entries.end() ? nullptr : &*found;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

// A number as JSON has it, a text in quotes.
std::string json_value(const PaperEntry& entry) {
  const bool number = entry.text.find_first_not_of("0123456789.") == std::string::npos;
  return number ? entry.text : quoted(entry.text);
}

}  // namespace

std::optional<Question> ask_doc_total(const Paper& paper, Random& random) {
  const PaperEntry* total = entry_of(paper, Role::total);
  if (!total) return std::nullopt;
  const std::string text = phrase(random, {"What is the total?", "How much is it all together?",
                                           "What is the sum of the receipt?", "Read the total."});
  return Question{QuestionType::doc_total, text, total->text, "doc total"};
}

std::optional<Question> ask_doc_price(const Paper& paper, Random& random) {
  const auto items = paper.entries_of(Role::item);
  if (items.empty()) return std::nullopt;
  const PaperEntry& item = *pick(items, random);
  const std::string text = phrase(random,
                                  {"What is the price of the {}?", "How much is the {}?",
                                   "What does the {} cost?", "Read the price of the {}."},
                                  item.name);
  return Question{QuestionType::doc_price, text, item.text, "doc price " + item.name};
}

std::optional<Question> ask_doc_extreme(const Paper& paper, Random& random) {
  const auto items = paper.entries_of(Role::item);
  if (items.size() < 2) return std::nullopt;
  const auto by_price = [](const PaperEntry* a, const PaperEntry* b) { return a->number < b->number; };
  const auto [low, high] = std::minmax_element(items.begin(), items.end(), by_price);
  const bool highest = random.uniform() < 0.5;
  const PaperEntry& item = highest ? **high : **low;
  if (std::ranges::count(items, item.number, [](const PaperEntry* other) { return other->number; }) > 1)
    return std::nullopt;
  const std::string word = highest ? "highest" : "lowest";
  const std::string text = phrase(random,
                                  {"Which item has the {} price?", "What is the item with the {} price?",
                                   "Name the item with the {} price."},
                                  word);
  return Question{QuestionType::doc_extreme, text, item.name, "doc extreme " + word};
}

std::optional<Question> ask_doc_count(const Paper& paper, Random& random) {
  const bool receipt = paper.kind == PaperKind::receipt;
  if (paper.kind == PaperKind::notice) return std::nullopt;
  const size_t count = receipt ? paper.entries_of(Role::item).size() : paper.entries.size();
  const std::string text =
      phrase(random, {"How many {} are there?", "How many {} does the [] have?", "Count the {}."},
             receipt ? "items" : "fields", kind_name(paper.kind));
  return Question{QuestionType::doc_count, text, std::to_string(count), "doc count"};
}

std::optional<Question> ask_doc_date(const Paper& paper, Random& random) {
  const PaperEntry* date = entry_of(paper, Role::date);
  if (!date) return std::nullopt;
  const std::string text = phrase(
      random,
      {"What is the date?", "Which date is on the {}?", "What is the date on the {}?", "Read the date."},
      kind_name(paper.kind));
  return Question{QuestionType::doc_date, text, date->text, "doc date"};
}

std::optional<Question> ask_doc_who(const Paper& paper, Random& random) {
  const PaperEntry* person = entry_of(paper, Role::person);
  if (!person) return std::nullopt;
  const std::string name = kind_name(paper.kind);
  std::string text;
  if (paper.kind == PaperKind::receipt)
    text = phrase(
        random, {"Who is the clerk?", "What is the name of the clerk?", "Which person wrote the {}?"}, name);
  else if (paper.kind == PaperKind::form)
    text =
        phrase(random, {"Who put a name on the {}?", "Which name is on the {}?", "Whose {} is this?"}, name);
  else
    text = phrase(random, {"Who can help?", "Who should you ask?", "Which person does the {} name?"}, name);
  return Question{QuestionType::doc_who, text, person->text, "doc who"};
}

std::optional<Question> ask_doc_field(const Paper& paper, Random& random) {
  if (paper.kind == PaperKind::receipt) return std::nullopt;
  const PaperEntry& entry = pick(paper.entries, random);
  const std::string text = phrase(random,
                                  {"What is written in the field {}?", "What is written next to {}?",
                                   "Read the field {}.", "What does the [] say next to {}?"},
                                  entry.name, kind_name(paper.kind));
  return Question{QuestionType::doc_field, text, entry.text, "doc field " + entry.name};
}

std::optional<Question> ask_doc_title(const Paper& paper, Random& random) {
  const std::string text = phrase(random,
                                  {"What is the title of the {}?", "What is written at the top of the {}?",
                                   "What does the {} say at the top?", "Read the first line."},
                                  kind_name(paper.kind));
  return Question{QuestionType::doc_title, text, paper.title, "doc title"};
}

std::optional<Question> ask_doc_text(const Paper& paper, Random& random) {
  std::string answer;
  for (const std::string& line : printed_lines(paper)) answer += (answer.empty() ? "" : "\n") + line;
  const std::string text = phrase(random,
                                  {"Read the {}.", "Read all the text of the {}.",
                                   "Write down every line of the {}.", "What is written on the {}?"},
                                  kind_name(paper.kind));
  return Question{QuestionType::doc_text, text, answer, "doc text"};
}

// One line for each entry, so that what is right of a long answer can be counted.
std::optional<Question> ask_doc_json(const Paper& paper, Random& random) {
  std::string answer = "```json\n{\n\t\"title\": " + quoted(paper.title);
  Role before = Role::date;
  for (const PaperEntry& entry : paper.entries) {
    const bool item = entry.role == Role::item;
    if (before == Role::item && !item) answer += "\n\t]";
    answer += before == Role::item || !item ? ",\n" : ",\n\t\"items\": [\n";
    answer += item ? fmt::format("\t\t{{\"name\": {}, \"price\": {}}}", quoted(entry.name), entry.text)
                   : fmt::format("\t{}: {}", quoted(entry.name), json_value(entry));
    before = entry.role;
  }
  const std::string text =
      phrase(random,
             {"Read the {} as JSON.", "Output the text of the {} in JSON.",
              "Give me all fields of the {} as JSON.", "List everything on the {}. Answer in JSON."},
             kind_name(paper.kind));
  return Question{QuestionType::doc_json, text, answer + "\n}\n```", "doc json"};
}

}  // namespace dvlm
