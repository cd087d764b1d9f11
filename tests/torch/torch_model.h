// The Model interface over the network that trains: its pass is what must agree with transformers and with
// the native model.
#pragma once
#include <memory>

#include "checkpoint/checkpoint.h"
#include "model/model.h"

namespace dvlm {

// f32 on test::torch_device(). Segments run one after the other, so rows do not depend on other segments;
// unlike the native model's, their last bits may depend on how many rows are seen. Throws Error when a tensor
// is missing or misshapen, or the checkpoint is quantized.
std::unique_ptr<Model> load_torch_model(const Checkpoint& checkpoint);

}  // namespace dvlm
