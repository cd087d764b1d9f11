// Whether two runs answered alike: a quantized model beside the wide one, dvlm beside another server.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "evaluate/predictions.h"

namespace dvlm {

struct Agreement {
  struct Difference {
    std::string id, ours, theirs;  // both from the first character on that differs
    size_t character = 0;          // how many are equal before it
  };
  std::string task, decoder, other;    // `other`: theirs
  int64_t answers = 0, identical = 0;  // of questions that both answered and neither refused; text for text
  double common = 0;                   // share of the longer text that both begin with, mean
  // Of the tokens whose probabilities both kept, each answer's up to its first difference: see divergence().
  int64_t tokens = 0, same_likeliest = 0;
  double mean_kl = 0, largest_kl = 0;        // nats
  std::vector<Difference> differences = {};  // in the order of our answers, the first few
};

// Each of our sets beside theirs of the same task: those of the same decoder, or the only one that there is.
// Throws Error where nothing can be compared.
std::vector<Agreement> compare(const std::vector<PredictionSet>& ours,
                               const std::vector<PredictionSet>& theirs);

std::string agreement_markdown(const std::vector<Agreement>& agreements);
nlohmann::json agreement_json(const std::vector<Agreement>& agreements);

}  // namespace dvlm
