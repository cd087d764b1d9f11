// Some records of a run's data, read as training reads them: how long its samples are.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "train/config.h"
#include "train/dataset.h"
#include "train/plan.h"

namespace dvlm {

struct Survey {
  int64_t records = 0, read = 0, bad = 0, dropped = 0, shrunk = 0;
  std::string first_bad;        // why it is
  std::vector<int64_t> tokens;  // of each sample, the shortest first
  PassSize largest;             // batch_size times the longest sample
};

struct SurveyLimits {
  int64_t records = 256;  // evenly spread
  double seconds = std::numeric_limits<double>::infinity();
};

Survey survey(const TrainConfig& config, const Dataset& dataset, const ModelConfig& model,
              const SurveyLimits& limits = {});

}  // namespace dvlm
