#include "train/state.h"

#include "checkpoint/safetensors.h"
#include "core/error.h"

namespace dvlm {

void save_state(const std::filesystem::path& folder, const std::map<std::string, torch::Tensor>& tensors,
                const RunState& run) {
  std::vector<torch::Tensor> kept;
  std::vector<NamedTensor> views;
  for (const auto& [name, tensor] : tensors) {
    kept.push_back(tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous());
    const torch::Tensor& t = kept.back();
    views.push_back({name, {DType::f32, t.sizes().vec(), static_cast<const std::byte*>(t.const_data_ptr())}});
  }
  write_safetensors(folder / kStateFile, views, state_metadata(run, views));
}

RunState load_state(const std::filesystem::path& folder,
                    const std::map<std::string, torch::Tensor>& tensors) {
  const std::filesystem::path path = folder / kStateFile;
  if (!std::filesystem::exists(path))
    fail("nothing to resume: {} does not exist; start without --resume", path.string());
  const Safetensors file(path);
  RunState run = read_run_state(file, path.string());
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors) {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end())
      fail("{} lacks '{}': it belongs to another model or another 'freeze' or 'ema_decay'", path.string(),
           name);
    const TensorView& view = found->second;
    if (view.shape != tensor.sizes().vec() || view.type != DType::f32)
      fail("{}: '{}' has shape {}, the model expects {}", path.string(), name, to_string(view.shape),
           to_string(tensor.sizes().vec()));
    torch::Tensor values = torch::empty(tensor.sizes(), torch::kFloat32);
    copy_to_float(view, 0, view.elements(), values.data_ptr<float>());
    tensor.copy_(values);
  }
  return run;
}

}  // namespace dvlm
