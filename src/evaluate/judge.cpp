#include "evaluate/judge.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/ascii.h"
#include "core/files.h"
#include "core/progress.h"
#include "evaluate/ask_in_parallel.h"
#include "evaluate/benchmarks.h"
#include "evaluate/report.h"

namespace dvlm {

using nlohmann::json;

std::string judge_prompt(const std::string& task, const json& row, const std::string& answer) {
  const std::string question = row.value("question", "(it stands in the picture)");
  const Rule rule = rule_of(task);
  if (rule == Rule::yes_no)
    return fmt::format(
        "Somebody was asked the question below, which is to be answered by yes or no, and answered in other "
        "words. Does the answer mean yes or no? Reply with one word: Yes, No, or Unknown when it says "
        "neither.\n\nQuestion: {}\n\nAnswer: {}",
        question, answer);
  return fmt::format(
      "Somebody was asked the question below, with options to choose from, and answered in other words. "
      "Which option does the answer mean? Reply with one letter: that of the option, or Z when the answer "
      "means none of them or more than one.\n\nQuestion: {}\n\n{}\nAnswer: {}",
      question, options_prompt(scored_options(rule, row)), answer);
}

std::string verdict_of(const std::string& task, const json& row, const std::string& reply) {
  const Rule rule = rule_of(task);
  if (rule == Rule::yes_no) {
    const std::string said = yes_or_no(reply);
    return said != "Unknown" || reply.find("nknown") != std::string::npos ? said : "";
  }
  const char letter = option_of(reply, scored_options(rule, row));
  return letter == 0 ? "" : std::string(1, letter);
}

namespace {

void judge_answers(PredictionSet& set, const EndpointOptions& judge, int parallel) {
  std::vector<Prediction*> open;
  for (const size_t i : score_of(set, Verdicts::ignored).undecided) {
    Prediction& undecided = set.predictions[i];
    if (undecided.judge != judge.model && !trim(undecided.answer).empty()) open.push_back(&undecided);
  }
  if (open.empty()) return;
  if (!set.path.empty()) drop_torn_line(set.path);
  Progress progress(fmt::format("judging {}", set.header.task), std::ssize(open));
  int64_t done = 0;
  const auto ask = [&](size_t i) -> std::string {
    const Prediction& open_one = *open[i];
    const json body = {{"messages",
                        {{{"role", "user"},
                          {"content", judge_prompt(set.header.task, open_one.question, open_one.answer)}}}},
                       {"temperature", 0},
                       {"max_tokens", 1024}};
    try {
      return verdict_of(set.header.task, open_one.question, ask_endpoint(judge, body, interrupted).text);
    } catch (const EndpointRefusal&) {
      return "";  // too long an answer, say: it stays undecided
    }
  };
  ask_in_parallel(open.size(), parallel, ask, [&](size_t i, std::string verdict) {
    open[i]->verdict = std::move(verdict), open[i]->judge = judge.model;
    if (!set.path.empty()) append_verdict(set.path, *open[i]);
    progress.update(++done);
  });
}

}  // namespace

void judge_answers(std::vector<PredictionSet>& sets, const EndpointOptions& judge, int parallel) {
  for (PredictionSet& set : sets) judge_answers(set, judge, parallel);
}

}  // namespace dvlm
