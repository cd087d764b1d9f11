// The only place that knows which devices exist.
#pragma once
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "model/model.h"
#include "model/options.h"

namespace dvlm {

namespace cuda {
class Device;
}

using ModelLoader = std::unique_ptr<Model> (*)(const Checkpoint& checkpoint, const ModelOptions& options);

// Makes a device known under a name: for plugins and tests. A name that is known gets the new loader. Not
// while models load.
void add_backend(const std::string& device, ModelLoader load);

// Loads a checkpoint on options.device: "cpu", "cuda", "cuda:1", what was added, or "auto": what
// choose_device says, and the CPU when that card refuses the checkpoint. Throws Error for a device that
// nobody added, and as the device's loader does: for tensors that are missing or misshapen and memory that is
// short.
std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const ModelOptions& options = {});

// The card of that name, for those who measure it; null for devices that are none. Throws Error where it is
// not there.
std::shared_ptr<cuda::Device> open_card(const std::string& device);

}  // namespace dvlm
