// How VLMEvalKit scores: its rules, and a judge for what they do not decide.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "evaluate/benchmarks.h"
#include "evaluate/python_text.h"
#include "evaluate/tasks.h"
#include "evaluate/vqa.h"

namespace dvlm {

using nlohmann::json;

namespace {

constexpr double kElsewhere = std::numeric_limits<double>::quiet_NaN();
constexpr const char* kNone = "nan";  // what an answer that is missing is to pandas

// str() of a missing answer, which "None" is, too, makes a text of it.
std::vector<std::string> references_of(const json& row) {
  const std::string answer = row.value("answer", kNone);
  return python::list_of(answer).value_or(std::vector{answer});
}

class Scoring {
 public:
  Scoring(const std::string& task, std::span<const Answered> answers)
      : rule_(rule_of(task)), think_(thinks(task)), answers_(answers) {}

  TaskScore score() {
    const auto has_reference = [](const Answered& answered) { return answered.row.contains("answer"); };
    if (!answers_.empty() && std::ranges::none_of(answers_, has_reference)) {
      out_.values.assign(answers_.size(), kElsewhere);
      return std::move(out_);
    }
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
    const json& row = answered.row;
    const std::string& answer = answered.answer;
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
        return understood(said, said == "Unknown", answered) == row.value("answer", kNone);
      }
      case Rule::choice:
      case Rule::circular:
      case Rule::mmmu:
      case Rule::mmmu_pro:
      case Rule::vision_alone:
        break;
    }
    return choice_value(answered);
  }

  double choice_value(const Answered& answered) {
    const json& row = answered.row;
    std::string right = row.value("answer", kNone);
    if (may_be_open(rule_))
      if (right.size() != 1 || right[0] < 'A' || right[0] > 'Z') right = "A";
    const char letter =
        option_of(think_ ? last_line_answer(answered.answer) : answered.answer, scored_options(rule_, row));
    const std::string& said = understood(letter == 0 ? "" : std::string(1, letter), letter == 0, answered);
    return !said.empty() && said == right;
  }

  // What counts: what the rules read out of the answer or, where that is nothing, the judge.
  const std::string& understood(std::string text, bool nothing, const Answered& answered) {
    if (nothing && !answered.verdict.empty())
      text = answered.verdict, ++out_.judged;
    else if (nothing)
      out_.undecided.push_back(out_.understood.size());
    out_.understood.push_back(std::move(text));
    return out_.understood.back();
  }

  // A question is right when it is in all rotations of its options, whose indices are 1,000,000 apart. The
  // first rotation that is there stands for all.
  void join_rotations() {
    constexpr int64_t kApart = 1'000'000;
    struct Group {
      int64_t first = std::numeric_limits<int64_t>::max();
      double value = 1;
    };
    std::map<int64_t, Group> groups;
    std::vector<int64_t> indices;
    for (size_t i = 0; i < answers_.size(); ++i) {
      indices.push_back(whole_number(column_of(answers_[i].row, "index")));
      Group& group = groups[indices[i] % kApart];
      group.first = std::min(group.first, indices[i]), group.value = std::min(group.value, out_.values[i]);
    }
    for (size_t i = 0; i < answers_.size(); ++i) {
      const Group& group = groups.at(indices[i] % kApart);
      out_.values[i] = indices[i] == group.first ? group.value : kElsewhere;
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
      add(part, out_.values[i]);
    }
    if (part.answers == 0 && !out_.parts.empty()) return;  // there is always a first
    finish(part);
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
      const bool yes = answers_[i].row.value("answer", kNone) == "Yes", said = out_.understood[i] == "Yes";
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
    const double right = all.answers > 0 ? all.right / static_cast<double>(all.answers) : 0;
    out_.parts = {{"all", all.answers, all.f1()}, {"accuracy", all.answers, right, right}};
    for (const auto& [category, counts] : by_category)
      out_.parts.push_back({category, counts.answers, counts.f1()});
  }

  const Rule rule_;
  const bool think_;
  const std::span<const Answered> answers_;
  TaskScore out_;
};

}  // namespace

void add(TaskScore::Part& part, double value) {
  part.score += value, ++part.answers;
  part.squares = part.squares.value_or(0) + value * value;
}

void finish(TaskScore::Part& part) {
  if (part.answers == 0) return;
  part.score /= static_cast<double>(part.answers);
  *part.squares /= static_cast<double>(part.answers);
}

TaskScore score_benchmark(const std::string& task, std::span<const Answered> answers) {
  return Scoring(task, answers).score();
}

}  // namespace dvlm
