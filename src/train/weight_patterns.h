// Which weights and layers the patterns of a configuration name, told by names alone: a plan has no network.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "train/config.h"

namespace dvlm {

// Weights of a checkpoint and their shapes, as expected_tensors() gives them.
using WeightShapes = std::map<std::string, std::vector<int64_t>>;

// Whether a pattern of config.freeze names this weight.
bool is_frozen(const TrainConfig& config, const std::string& weight);
// Whether this weight is the matrix of a layer that adapters may stand beside, and config.lora names it.
bool is_adapted(const TrainConfig& config, const std::string& weight, const std::vector<int64_t>& shape);

// Throws Error where a pattern of config.freeze names none of these weights, cuts through some that the
// network keeps as one parameter (q, k and v; gate and up), or where nothing is left to train.
void check_freeze(const TrainConfig& config, const std::vector<std::string>& weights);

// What a run and its plan check before any weight is read: the above, and with adapters that each of
// config.lora.targets names a layer, one that drafts use where they alone train. Throws Error.
void check_patterns(const TrainConfig& config, const ModelConfig& model);

}  // namespace dvlm
