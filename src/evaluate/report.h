// What kept answers add up to: scores, tokens per pass, speed, agreement.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
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
  Speed speed = {},
        long_speed = {};    // of all answers; of long ones: above 200 tokens, or as their question says
  int64_t identical = 0;    // to the first decoder's, token for token, of those that both answered
  std::string digest = {};  // of all answers in their order: equal where two runs wrote the same
};

struct TaskResult {
  std::string task;
  std::vector<DecoderResult> decoders;
};

// Sets of one task become one result, in the order of the first of each. Throws Error as score_benchmark().
std::vector<TaskResult> results_of(std::vector<PredictionSet> sets);

// Half the width of the interval that holds the mean with 95 %: Wilson's for shares, else 1.96 standard
// errors.
double interval_of(const TaskScore::Part& part, const TaskScore& score);

// A table of each task; of several tasks one more, with their numbers beside those that Fast-dVLM's card
// gives.
std::string report_markdown(const std::vector<TaskResult>& results);
nlohmann::json report_json(const std::vector<TaskResult>& results);

// `card` with the text between "<!-- dvlm eval -->" and "<!-- end -->" replaced. Throws Error without the
// marks.
std::string insert_report(const std::string& card, const std::string& report);

}  // namespace dvlm
