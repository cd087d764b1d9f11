// What adapters a network in training gets (torch/lora.h).
#pragma once
#include <string>
#include <vector>

namespace dvlm {

struct LoraOptions {
  int rank = 0;       // 0: no adapters
  double alpha = 32;  // they are scaled by alpha / rank
  double dropout = 0;
  // Linear layers, by their names in the checkpoint ('*' matches anything) or the ends of these ("q_proj").
  std::vector<std::string> targets = {"model.layers.*"};
  // Adapters serve the noisy copies alone, see docs/lora.md. The clean half, which is what decides a text,
  // stays the model's.
  bool drafts_only = false;
  bool operator==(const LoraOptions&) const = default;
};

}  // namespace dvlm
