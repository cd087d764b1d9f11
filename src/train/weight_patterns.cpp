#include "train/weight_patterns.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "torch/lora.h"

namespace dvlm {

namespace {

// The layers of both towers, embeddings and head aside.
bool is_linear(const std::string& weight, const std::vector<int64_t>& shape) {
  return shape.size() == 2 && (weight.starts_with("model.layers.") || weight.starts_with("visual."));
}

std::string layer_of(const std::string& weight) {
  return weight.substr(0, weight.rfind('.'));
}

// The parameter of the network that holds a weight, by a name that all of its weights share.
std::string parameter_of(const std::string& weight) {
  return first_of_input(layer_of(weight)) + weight.substr(weight.rfind('.'));
}

void check_targets(const LoraOptions& lora, const WeightShapes& weights) {
  for (const std::string& target : lora.targets) {
    LoraOptions alone = lora;
    alone.targets = {target};
    bool used = false;
    for (const auto& [weight, shape] : weights) {
      if (!is_linear(weight, shape) || !is_target(alone, layer_of(weight))) continue;
      used = true;
      if (lora.drafts_only && !weight.starts_with("model.layers."))
        fail(
            "training config: 'lora.targets' names {}, which drafts do not run; name layers of the language "
            "model",
            layer_of(weight));
    }
    if (!used) fail("training config: 'lora.targets' \"{}\" matches no linear layer", printable(target));
  }
}

}  // namespace

bool is_frozen(const TrainConfig& config, const std::string& weight) {
  return std::ranges::any_of(config.freeze,
                             [&](const std::string& pattern) { return matches(pattern, weight); });
}

bool is_adapted(const TrainConfig& config, const std::string& weight, const std::vector<int64_t>& shape) {
  return config.lora.rank > 0 && is_linear(weight, shape) && is_target(config.lora, layer_of(weight));
}

void check_freeze(const TrainConfig& config, const std::vector<std::string>& weights) {
  for (const std::string& pattern : config.freeze)
    if (std::ranges::none_of(weights, [&](const std::string& weight) { return matches(pattern, weight); }))
      fail("training config: 'freeze' pattern \"{}\" matches no weight", printable(pattern));
  bool trains = false;
  std::map<std::string, bool> frozen;  // parameters
  for (const std::string& weight : weights) {
    const bool stays = is_frozen(config, weight);
    if (frozen.emplace(parameter_of(weight), stays).first->second != stays)
      fail("training config: 'freeze' cuts through weights that train together, at {}", weight);
    trains |= !stays;
  }
  if (!trains) fail("training config: 'freeze' leaves no weight to train");
}

void check_patterns(const TrainConfig& config, const ModelConfig& model) {
  const WeightShapes weights = expected_tensors(model);
  if (config.lora.rank > 0) return check_targets(config.lora, weights);
  std::vector<std::string> names;
  for (const auto& [name, shape] : weights) names.push_back(name);
  // A head that config.json calls tied may be stored apart, which is known when the tensors are.
  if (const char* head = "lm_head.weight"; model.text.tie_word_embeddings && is_frozen(config, head))
    names.emplace_back(head);
  check_freeze(config, names);
}

}  // namespace dvlm
