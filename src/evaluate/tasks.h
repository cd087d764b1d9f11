// The benchmarks of vision-language models in VLMEvalKit's files: how questions are asked and answers scored.
#pragma once
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/chat.h"

namespace dvlm {

// NOLINTNEXTLINE(bugprone-exception-escape): moves of the JSON library assert
struct TestQuestion {
  std::string id;  // the row's index
  Conversation conversation;
  nlohmann::json row;  // what an answer is scored by: the row's columns but pictures
};

// What is asked, in order. Questions are made when they are asked for: files may be larger than memory.
class TestSet {
 public:
  virtual ~TestSet() = default;
  virtual std::string name() const = 0;
  virtual std::filesystem::path file() const = 0;
  virtual int64_t size() const = 0;
  virtual std::string id(int64_t i) const = 0;  // of question(i)
  // Throws Error naming the row, for pictures that are missing, texts that are no UTF-8 and a prompt that
  // names a picture that the row has not.
  virtual TestQuestion question(int64_t i) const = 0;
};

// A file of a benchmark; its name says which: AI2D_TEST.tsv. `chain_of_thought`: MMMU-Pro asks for thoughts
// before the answer, and the name of the task ends in _COT. Throws Error listing the benchmarks.
std::unique_ptr<TestSet> open_benchmark(const std::filesystem::path& file, bool chain_of_thought = false);

struct Answered {
  const nlohmann::json& row;
  const std::string& answer;
  std::string_view verdict = {};  // of a judge; empty: none
};

struct TaskScore {
  struct Part {
    std::string name;
    int64_t answers = 0;
    double score = 0;                    // 0 to 1
    std::optional<double> squares = {};  // mean of the squared values whose mean the score is; none: no mean
  };
  std::string metric;            // "accuracy", "F1", ...: what the first part says
  std::vector<Part> parts = {};  // the first is the benchmark's number; without answers: nothing to score by
  std::vector<double> values = {};           // of each answer, in [0, 1]; NaN: it counts through another one
  std::vector<std::string> understood = {};  // what was read out of each answer, where that was looked for
  std::vector<size_t> undecided = {};        // answers that the rules read nothing out of: a judge might
  int64_t judged = 0;                        // answers of that kind that a judge's verdict stands for
};

// A mean in the making: its values one by one, and their number at last.
void add(TaskScore::Part& part, double value);
void finish(TaskScore::Part& part);

// A row without an answer is wrong (of MMMU, which VLMEvalKit takes for A, where A is not chosen); where no
// row has one, the score has no parts. Throws Error for a task that is none, and for rows that lack an index
// that it is scored by.
TaskScore score_benchmark(const std::string& task, std::span<const Answered> answers);

}  // namespace dvlm
