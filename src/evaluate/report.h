// What kept answers add up to: scores, tokens per pass, speed, agreement.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "evaluate/predictions.h"
#include "evaluate/tasks.h"

namespace dvlm {

// By the metric of its task. Throws Error as score_benchmark().
enum class Verdicts { ignored, counted };
TaskScore score_of(const PredictionSet& set, Verdicts verdicts);

// Sums over answers.
struct Speed {
  int64_t answers = 0, tokens = 0, nfe = 0, passes = 0;  // tokens: behind the first; passes: prefill's too
  int64_t firsts = 0;  // answers whose tokens are known: they have a first one
  int64_t timed = 0;   // of `tokens`, those that came in `decode_ms`: not in one piece
  double decode_ms = 0, total_ms = 0;
  int64_t peak_memory = 0;            // bytes, the most of any answer
  std::vector<double> first_ms = {};  // sorted
  double tokens_per_nfe() const;
  double tokens_per_pass() const;      // the first token and prefill counted
  double tokens_per_s() const;         // behind the first
  double tokens_per_s_in_all() const;  // the first and all that was before it counted
  double median_first_ms() const;
};

struct DecoderResult {
  PredictionSet set;
  TaskScore score = {};
  Speed speed = {}, long_speed = {};  // of all answers; of those to long questions
  int64_t compared = 0;               // answers to what `ar` of its run answered, too; a refusal is no answer
  int64_t identical = 0;              // those of them that are the same, token for token
  std::string digest = {};            // of all answers in their order: equal where two runs wrote the same
  std::string label = {};             // its decoder, and where two columns have one, what distinguishes them
};

// Questions are long as they say themselves or, of a benchmark, where the answer of `ar`, else of the first
// decoder, has more than 200 tokens.
struct TaskResult {
  std::string task;  // its name, and where two have one, the file of their questions
  std::vector<DecoderResult> decoders;
  std::string base = {};  // what columns are compared with
};

// Sets of the same questions become one result, in the order of the first of each. A column is compared with
// `ar` of its model and settings, else with the first of these. Throws Error as score_benchmark().
std::vector<TaskResult> results_of(std::vector<PredictionSet> sets);

// The interval that holds a mean with 95 %: Wilson's for shares, else 1.96 standard errors to both sides.
// None of what is no mean, F1 over all answers, nor of one answer that is neither 0 nor 1.
std::optional<std::pair<double, double>> interval_of(const TaskScore::Part& part);

// A table of each task; of several tasks one more, with their numbers beside those that Fast-dVLM's card
// gives.
std::string report_markdown(const std::vector<TaskResult>& results);
nlohmann::json report_json(const std::vector<TaskResult>& results);

// `card` with the text between "<!-- dvlm eval -->" and "<!-- end -->" replaced. Throws Error without the
// marks.
std::string insert_report(const std::string& card, const std::string& report);

}  // namespace dvlm
