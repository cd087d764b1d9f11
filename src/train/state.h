// What a stopped run needs to continue exactly: one safetensors file, replaced atomically.
#pragma once
#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>

#include "train/run_state.h"

namespace dvlm {

inline constexpr const char* kStateFile = "training.safetensors";

// Writes float tensors and `run` to folder/training.safetensors.
void save_state(const std::filesystem::path& folder, const std::map<std::string, torch::Tensor>& tensors,
                const RunState& run);

// Fills `tensors` in place. Throws Error when the file is missing or a tensor is missing or has another
// shape.
RunState load_state(const std::filesystem::path& folder, const std::map<std::string, torch::Tensor>& tensors);

}  // namespace dvlm
