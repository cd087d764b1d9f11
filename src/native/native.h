// The native CPU model.
#pragma once
#include <memory>

#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "model/options.h"

namespace dvlm {

// Reads and repacks the weights; the model owns its threads. Throws Error when a tensor is missing or
// misshapen or memory would not suffice.
std::unique_ptr<Model> load_native(const Checkpoint& checkpoint, const ModelOptions& options = {});

}  // namespace dvlm
