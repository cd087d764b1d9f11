// Whole answers of one model, free and in a form, at the pace of a published shape (paced_model.h).
#pragma once
#include <string>
#include <vector>

#include "engine/engine.h"
#include "evaluate/examples.h"

namespace dvlm {

enum class AnswerKind {
  free,
  in_form,
  same_text,  // that of the answer in the form, by a model that is not held to it (dictated_model.h)
};
std::string name_of(AnswerKind kind);

struct AnswerTiming {
  std::string precision, decoder;
  AnswerKind kind = AnswerKind::free;
  int answers = 0, tokens = 0, forced = 0, nfe = 0;
  double ms = 0;  // decoding alone, without prefill
  double tokens_per_nfe() const { return nfe > 0 ? static_cast<double>(tokens) / nfe : 0; }
};

struct AnswerBenchOptions {
  std::string shape = "3b";
  ModelOptions model = {};
  std::vector<std::string> precisions = {"bf16"}, decoders = {"auto", "fused", "spec", "ar"};
  std::optional<GrammarSource> form;  // asked for beside free answers
  int block_size = 32;
  int max_tokens = 400;
};

// `model` says what is written. Every decoder answers one example in all kinds, then the next, so that all
// see the same states of the machine. Shows a progress bar; stops early, with what was measured,
// when the user interrupts.
std::vector<AnswerTiming> time_answers(const EngineOptions& model, const AnswerBenchOptions& options,
                                       const std::vector<Example>& examples);

}  // namespace dvlm
