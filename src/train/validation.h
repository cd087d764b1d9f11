// How well a model in training does on records that it does not learn from.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "train/batch.h"
#include "train/config.h"
#include "train/ranks.h"

namespace dvlm {

struct ValidationPoint {
  int64_t step = 0, samples = 0;
  double noisy = 0,
         clean = 0;  // nats per scored token, of blocks of config.block_size; noisy 0 in stage "ar"
  // Of drafts of whole blocks, made behind the true text: how many there are in a block, and how many of them
  // come before the first that the clean half would not have written. Both 0 where the clean half decides
  // nothing (stage "ar", clean_attention "block").
  double drafts = 0, right = 0;
  // What training minimises: the weighted sum in a conversion.
  double loss(const TrainConfig& config) const;
};
std::string to_json_line(const ValidationPoint& point, const TrainConfig& config);

inline constexpr const char* kValidationLog = "validation.jsonl";  // one point per line
// Leaves of such a log what was measured up to `last_step`; returns the lowest loss, infinity without any.
double keep_validations(const std::filesystem::path& path, int64_t last_step);

class Validation {
 public:
  // Reads config.validation, at most config.validation_samples of its records, evenly spread. Throws Error as
  // Dataset, and when none of them can be learnt from.
  Validation(const TrainConfig& config, const SampleContext& context);

  // By all processes together, each with its share of the records. What is hidden is the same every time.
  // Nothing, and a warning, where no record can be read any more: a loss of none would look like the best.
  std::optional<ValidationPoint> measure(Network& network, const StreamTokens& tokens, torch::Device device,
                                         const Ranks& ranks, int64_t step) const;

 private:
  std::optional<Sample> load(int64_t i) const;

  const TrainConfig config_;
  const SampleContext context_;
  Dataset dataset_;
  const int64_t records_;  // that are measured
};

}  // namespace dvlm
