#include "evaluate/tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

#include "core/ascii.h"
#include "core/error.h"
#include "evaluate/choices.h"
#include "evaluate/python_text.h"
#include "evaluate/tsv.h"
#include "evaluate/vqa.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

enum class Rule { choice, circular, mmmu, mmmu_pro, vision_alone, vqa, relaxed, anls, equal, yes_no };

struct Benchmark {
  std::string_view prefix;  // of the names of its files
  Rule rule;
};
// The longest prefix counts.
constexpr std::array<Benchmark, 13> kBenchmarks = {{{"AI2D", Rule::choice},
                                                    {"ChartQA", Rule::relaxed},
                                                    {"DocVQA", Rule::anls},
                                                    {"InfoVQA", Rule::anls},
                                                    {"GQA", Rule::equal},
                                                    {"MMBench", Rule::circular},
                                                    {"MMMU", Rule::mmmu},
                                                    {"MMMU_Pro", Rule::mmmu_pro},
                                                    {"MMMU_Pro_V", Rule::vision_alone},
                                                    {"POPE", Rule::yes_no},
                                                    {"RealWorldQA", Rule::choice},
                                                    {"SEEDBench", Rule::choice},
                                                    {"TextVQA", Rule::vqa}}};

Rule rule_of(const std::string& task) {
  const Benchmark* found = nullptr;
  for (const Benchmark& benchmark : kBenchmarks)
    if (task.starts_with(benchmark.prefix) && (!found || benchmark.prefix.size() > found->prefix.size()))
      found = &benchmark;
  if (found != nullptr) return found->rule;
  std::string names;
  for (const Benchmark& benchmark : kBenchmarks)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", benchmark.prefix);
  fail("no benchmark is called {}; a file's name begins with one of {}", printable(task), names);
}

bool thinks(const std::string& task) {
  return task.find("COT") != std::string::npos;
}

Options options_of(const json& row) {
  Options out;
  for (char letter = 'A'; letter <= 'Z'; ++letter)
    if (const auto text = row.find(std::string(1, letter)); text != row.end()) out[letter] = *text;
  return out;
}

std::string text_of(const json& row, const char* column) {
  const auto found = row.find(column);
  if (found == row.end()) fail("it has no value in the column \"{}\"", column);
  return *found;
}

// How VLMEvalKit asks (build_prompt of its data sets).

std::string options_prompt(const json& row) {
  std::string out;
  for (const auto& [letter, text] : options_of(row)) out += fmt::format("{}. {}\n", letter, text);
  return out.empty() ? out : "Options:\n" + out;
}

std::string choice_prompt(const json& row) {
  std::string out;
  if (row.contains("hint")) out += fmt::format("Hint: {}\n", text_of(row, "hint"));
  out += fmt::format("Question: {}\n", text_of(row, "question"));
  const std::string options = options_prompt(row);
  return options.empty() ? out
                         : out + options + "Please select the correct answer from the options above. \n";
}

constexpr const char* kThink =
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) "
    "where "
    "LETTER is one of the options. Think step by step before answering. ";
constexpr const char* kLetter = "Answer directly with the option letter from the given choices. ";

std::string pro_prompt(const json& row, bool think) {
  std::string out = fmt::format("Question: {}\n", text_of(row, "question"));
  const std::string options = options_prompt(row);
  if (options.empty()) return out;
  return out + options +
         (think ? std::string("Answer the following multiple-choice question. ") + kThink
                : std::string(kLetter));
}

std::string prompt_of(Rule rule, const json& row, bool think) {
  switch (rule) {
    case Rule::choice:
    case Rule::circular:
    case Rule::mmmu:
      return choice_prompt(row);
    case Rule::mmmu_pro:
      return pro_prompt(row, think);
    case Rule::vision_alone:
      return std::string("Answer the following multiple-choice question in the image. ") +
             (think ? kThink : kLetter);
    case Rule::yes_no:
      return text_of(row, "question");
    case Rule::vqa:
    case Rule::relaxed:
    case Rule::anls:
    case Rule::equal:
      break;
  }
  return text_of(row, "question") + "\nAnswer the question using a single word or phrase.";
}

// "<image 2>" in a text of MMMU is where its second picture stands.
std::vector<ContentPart> placed(const std::string& text, const std::vector<ContentPart>& pictures) {
  constexpr std::string_view kMark = "<image ";
  std::vector<ContentPart> out;
  size_t at = 0;
  for (size_t mark = 0; (mark = text.find(kMark, at)) != std::string::npos;) {
    const size_t digit = mark + kMark.size();
    const bool whole =
        digit + 1 < text.size() && text[digit] >= '1' && text[digit] <= '9' && text[digit + 1] == '>';
    if (!whole)
      fail("what stands behind \"<image \" is no number of a picture: {}", printable(text.substr(mark, 20)));
    const auto number = static_cast<size_t>(text[digit] - '0');
    if (number > pictures.size()) fail("its text names picture {}, and it has {}", number, pictures.size());
    out.push_back(text_part(text.substr(at, mark - at)));
    out.push_back(pictures[number - 1]);
    at = digit + 2;
  }
  if (out.empty()) out = pictures;
  out.push_back(text_part(text.substr(at)));
  return out;
}

class BenchmarkFile : public TestSet {
 public:
  BenchmarkFile(const fs::path& path, bool think)
      : name_(path.stem().string() + (think ? "_COT" : "")),
        rule_(rule_of(name_)),
        think_(thinks(name_)),
        folder_(path.parent_path()),
        file_(path, [this](const TsvRow& row) { look(row); }) {
    if (think && rule_ != Rule::mmmu_pro && rule_ != Rule::vision_alone)
      fail("{} has no question that asks for thoughts: MMMU_Pro files have", path.string());
    if (asked_.empty()) fail("{}: no row has a picture", path.string());
  }

  std::string name() const override { return name_; }
  fs::path file() const override { return file_.path(); }
  int64_t size() const override { return static_cast<int64_t>(asked_.size()); }
  std::string id(int64_t i) const override { return asked_[static_cast<size_t>(i)].id; }

  TestQuestion question(int64_t i) const override {
    const auto& [number, id] = asked_[static_cast<size_t>(i)];
    const TsvRow row = file_.row(number);
    try {
      TestQuestion out{id, {}, json::object()};
      for (const std::string& column : file_.columns())
        if (const auto value = row.find(column); value && column != "image" && column != "image_path")
          out.row[column] = *value;
      const std::vector<ContentPart> pictures = pictures_of(row);
      const std::string text = prompt_of(rule_, out.row, think_);
      const bool marked = rule_ == Rule::mmmu || rule_ == Rule::mmmu_pro;
      std::vector<ContentPart> parts = pictures;
      parts.push_back(text_part(text));
      out.conversation = {{"user", marked ? placed(text, pictures) : std::move(parts)}};
      return out;
    } catch (const Error& error) {
      fail("{} row {}: {}", file_.path().string(), number + 1, error.what());
    }
  }

 private:
  // A row without a picture is not asked; a short text in its place is the index of the row that has it.
  void look(const TsvRow& row) {
    const auto index = row.find("index");
    if (!index) fail("it has no value in the column \"index\"");
    const int64_t number = rows_++;
    row_of_[*index] = number;
    if (row.find("image") || row.find("image_path")) asked_.push_back({number, *index});
  }

  std::vector<ContentPart> pictures_of(const TsvRow& row) const {
    constexpr size_t kIndex = 64;  // longest text that is one
    std::optional<std::string> image = row.find("image");
    if (image && image->size() <= kIndex) {
      const auto other = row_of_.find(*image);
      if (other == row_of_.end())
        fail("its picture is that of row \"{}\", which is not there", printable(*image));
      image = file_.row(other->second).find("image");
      if (!image || image->size() <= kIndex) fail("its picture is that of a row without one");
    }
    std::vector<ContentPart> out;
    if (image) {
      for (const std::string& bytes : python::list_of(*image).value_or(std::vector{*image}))
        out.push_back(image_part("data:;base64," + bytes));
    } else {
      const std::string path = row.get("image_path");
      for (const std::string& one : python::list_of(path).value_or(std::vector{path}))
        out.push_back(image_part(found(one)));
    }
    return out;
  }

  // As it is, beside the file, or where VLMEvalKit unpacks pictures.
  std::string found(const fs::path& path) const {
    for (const fs::path& folder : {fs::path(), folder_, folder_ / "images" / name_})
      if (fs::exists(folder / path)) return (folder / path).string();
    fail("its picture {} is not there, nor beside the file or in {}", path.string(),
         (folder_ / "images" / name_).string());
  }

  const std::string name_;
  const Rule rule_;
  const bool think_;
  const fs::path folder_;
  struct Asked {
    int64_t row = 0;
    std::string id;
  };
  int64_t rows_ = 0;
  std::vector<Asked> asked_;
  std::unordered_map<std::string, int64_t> row_of_;
  const TsvFile file_;  // the last: it fills the lists above
};

// How VLMEvalKit scores without a judge.

constexpr double kElsewhere = std::numeric_limits<double>::quiet_NaN();

// str() of a missing answer, which "None" is, too, makes a text of it.
std::vector<std::string> references_of(const json& row) {
  const std::string answer = row.value("answer", "nan");
  return python::list_of(answer).value_or(std::vector{answer});
}

class Scoring {
 public:
  Scoring(const std::string& task, std::span<const Answered> answers)
      : rule_(rule_of(task)), think_(thinks(task)), answers_(answers) {}

  TaskScore score() {
    if (std::ranges::none_of(answers_,
                             [](const Answered& answered) { return answered.row.contains("answer"); }))
      fail("the questions have no answers to compare with: only their authors can score them");
    for (const Answered& answered : answers_) out_.values.push_back(value_of(answered));
    out_.metric = rule_ == Rule::anls      ? "ANLS"
                  : rule_ == Rule::vqa     ? "VQA score"
                  : rule_ == Rule::relaxed ? "relaxed accuracy"
                                           : "accuracy";
    if (rule_ == Rule::circular) join_rotations();
    rule_ == Rule::yes_no ? add_f1() : add_means();
    return std::move(out_);
  }

 private:
  double value_of(const Answered& answered) {
    const auto& [row, answer] = answered;
    switch (rule_) {
      case Rule::vqa:
        return vqa_score(references_of(row), answer);
      case Rule::relaxed:
        return relaxed_score(references_of(row), answer);
      case Rule::anls:
        return anls_score(references_of(row), answer);
      case Rule::equal:
        return equal_score(references_of(row), answer);
      case Rule::yes_no: {
        const std::string said = yes_or_no(answer);
        understood(said, said == "Unknown");
        return said == text_of(row, "answer");
      }
      case Rule::choice:
      case Rule::circular:
      case Rule::mmmu:
      case Rule::mmmu_pro:
      case Rule::vision_alone:
        break;
    }
    return choice_value(row, think_ ? last_line_answer(answer) : answer);
  }

  double choice_value(const json& row, const std::string& answer) {
    Options options = options_of(row);
    std::string right = text_of(row, "answer");
    if (rule_ == Rule::mmmu || rule_ == Rule::mmmu_pro || rule_ == Rule::vision_alone) {
      // An open question is one between its answer and anything else.
      if (!options.contains('A')) options['A'] = right, options['B'] = "Other Answers";
      if (right.size() != 1 || right[0] < 'A' || right[0] > 'Z') right = "A";
    }
    const char letter = option_of(answer, options);
    understood(letter == 0 ? "" : std::string(1, letter), letter == 0);
    return letter != 0 && right == std::string(1, letter);
  }

  void understood(std::string text, bool nothing) {
    out_.understood.push_back(std::move(text));
    out_.undecided += nothing;
  }

  // A question is right when it is in all rotations of its options, whose indices are 1,000,000 apart.
  void join_rotations() {
    constexpr int64_t kApart = 1'000'000;
    std::map<int64_t, double> all;
    const auto index_of = [&](size_t i) { return whole_number(text_of(answers_[i].row, "index")); };
    for (size_t i = 0; i < answers_.size(); ++i) {
      const auto [group, first] = all.emplace(index_of(i) % kApart, out_.values[i]);
      if (!first) group->second = std::min(group->second, out_.values[i]);
    }
    for (size_t i = 0; i < answers_.size(); ++i) {
      const int64_t index = index_of(i);
      out_.values[i] = index < kApart ? all.at(index) : kElsewhere;
    }
  }

  static int64_t whole_number(const std::string& text) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0)
      fail("the index of a row must be a whole number, not {}", printable(text));
    return value;
  }

  void add_part(std::string name, const std::string& column, const std::string& wanted) {
    TaskScore::Part part{std::move(name)};
    for (size_t i = 0; i < answers_.size(); ++i) {
      if (std::isnan(out_.values[i])) continue;
      if (!column.empty() && answers_[i].row.value(column, "") != wanted) continue;
      part.score += out_.values[i], ++part.answers;
    }
    if (part.answers == 0) return;
    part.score /= static_cast<double>(part.answers);
    out_.parts.push_back(std::move(part));
  }

  std::vector<std::string> values_of(const char* column) const {
    std::vector<std::string> out;
    for (const Answered& answered : answers_)
      if (const auto value = answered.row.find(column); value != answered.row.end()) out.push_back(*value);
    std::ranges::sort(out);
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  void add_means() {
    const std::vector<std::string> splits = values_of("split");
    // MMMU's number is that of its validation half.
    const bool validation = std::ranges::find(splits, "validation") != splits.end();
    if (validation) add_part("validation", "split", "validation");
    add_part("all", "", "");
    if (splits.size() > 1)
      for (const std::string& split : splits)
        if (!validation || split != "validation") add_part(split, "split", split);
    for (const char* column : {"l2-category", "category"})
      for (const std::string& category : values_of(column)) add_part(category, column, category);
  }

  // Of "Yes", over the pictures' categories: an answer to a question of two counts twice.
  void add_f1() {
    struct Counts {
      int64_t right_yes = 0, wrong_yes = 0, missed = 0, answers = 0;
      double right = 0;
      double f1() const {
        const double all = static_cast<double>(2 * right_yes + wrong_yes + missed);
        return all > 0 ? 2 * static_cast<double>(right_yes) / all : 0;
      }
    };
    Counts all;
    std::map<std::string, Counts> by_category;
    for (size_t i = 0; i < answers_.size(); ++i) {
      const bool yes = text_of(answers_[i].row, "answer") == "Yes", said = out_.understood[i] == "Yes";
      const auto count = [&](Counts& counts) {
        counts.right_yes += yes && said, counts.wrong_yes += !yes && said, counts.missed += yes && !said;
        counts.right += out_.values[i], ++counts.answers;
      };
      const std::string categories = answers_[i].row.value("category", "");
      for (size_t at = 0; at <= categories.size();) {
        const size_t end = std::min(categories.find(',', at), categories.size());
        count(all);
        if (end > at) count(by_category[categories.substr(at, end - at)]);
        at = end + 1;
      }
    }
    out_.metric = "F1";
    out_.parts = {
        {"all", all.answers, all.f1()},
        {"accuracy", all.answers, all.answers > 0 ? all.right / static_cast<double>(all.answers) : 0}};
    for (const auto& [category, counts] : by_category)
      out_.parts.push_back({category, counts.answers, counts.f1()});
  }

  const Rule rule_;
  const bool think_;
  const std::span<const Answered> answers_;
  TaskScore out_;
};

}  // namespace

std::unique_ptr<TestSet> open_benchmark(const fs::path& file, bool chain_of_thought) {
  return std::make_unique<BenchmarkFile>(file, chain_of_thought);
}

TaskScore score_benchmark(const std::string& task, std::span<const Answered> answers) {
  return Scoring(task, answers).score();
}

}  // namespace dvlm
