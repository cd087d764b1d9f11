// LoRA (Hu et al., ICLR 2022): small matrices beside the linear layers, which train in their place.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "checkpoint/lora_options.h"
#include "torch/network.h"

namespace dvlm {

// Gives the layers that match adapters which change nothing yet: A is drawn as PEFT draws it, from LibTorch's
// generator, and B is 0. `mask_token`: its row of the embedding trains, too; -1: none does. All weights of
// the network itself stop requiring gradients. Throws Error when a target matches no layer, or one that
// drafts do not use.
void add_lora(Network& network, const LoraOptions& options, int64_t mask_token);

// The adapters as PEFT reads them for Qwen2.5-VL: adapter_config.json, adapter_model.safetensors, and
// config.json. `base`: the model's folder, for the record.
HeldModel hold_lora(const Network& network, const LoraOptions& options, const std::string& base, DType dtype);

// Whether one of options.targets names this linear layer of a checkpoint.
bool is_target(const LoraOptions& options, const std::string& layer);

// Does `name` match `pattern`, where '*' stands for any text?
bool matches(std::string_view pattern, std::string_view name);

}  // namespace dvlm
