// The interface of model.h on a card.
#pragma once
#include <memory>

#include "checkpoint/checkpoint.h"
#include "cuda/device.h"
#include "model/model.h"

namespace dvlm::cuda {

// Why no card does what is asked: f32, drafts in whole numbers, an observer, a file of packed weights. Empty:
// it can be done.
std::string refusal(const ModelOptions& options);

// Bytes that must be free on a card for the model to be of use there: weights, and keys, values and buffers
// for 4,096 tokens. Throws Error for a shape that no card runs.
size_t least_bytes(const Checkpoint& checkpoint, const ModelOptions& options = {});

// Keys and values get options.kv_limit bytes, or half of what the weights leave free where that is less.
// Throws Error for tensors that are missing or misshapen, memory that is short, and with refusal().
std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device,
                                  const ModelOptions& options);

}  // namespace dvlm::cuda
