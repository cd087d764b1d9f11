// The interface of model.h on a card.
#pragma once
#include <memory>

#include "checkpoint/checkpoint.h"
#include "cuda/device.h"
#include "model/model.h"

namespace dvlm::cuda {

// Throws Error for tensors that are missing or misshapen, memory that is short, and options that a card does
// not know: f32, approximate drafts, an observer.
std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device,
                                  const ModelOptions& options);

}  // namespace dvlm::cuda
