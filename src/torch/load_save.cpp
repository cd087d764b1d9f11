#include <map>

#include "checkpoint/safetensors.h"
#include "core/error.h"
#include "core/files.h"
#include "torch/network.h"

namespace dvlm {
namespace {

TensorView view_of(const torch::Tensor& tensor, DType type) {
  return {type, tensor.sizes().vec(), static_cast<const std::byte*>(tensor.const_data_ptr())};
}

}  // namespace

void NetworkImpl::load(const Checkpoint& checkpoint) {
  const torch::NoGradGuard guard;
  for (auto& [name, weight] : named_weights()) {
    const TensorView& source =
        name == "lm_head.weight" ? checkpoint.head() : checkpoint.get(name, weight.sizes().vec());
    if (source.type == DType::f8_e4m3)
      fail("{} is quantized; LibTorch loads and trains F32, F16 and BF16 checkpoints only",
           checkpoint.folder().string());
    if (source.shape != weight.sizes().vec())
      fail("{}: expected shape {}, found {}", name, to_string(weight.sizes().vec()), to_string(source.shape));
    torch::Tensor host = torch::empty(weight.sizes(), torch::kFloat32);
    copy_to_float(source, 0, source.elements(), host.mutable_data_ptr<float>());
    torch::Tensor(weight).copy_(host);
  }
}

void save_checkpoint(const std::filesystem::path& folder, const Network& network, DType dtype) {
  if (dtype != DType::bf16 && dtype != DType::f32)
    fail("save_checkpoint writes F32 or BF16, not {}", name_of(dtype));
  const auto type = dtype == DType::bf16 ? torch::kBFloat16 : torch::kFloat32;
  make_folder(folder);
  std::map<std::string, torch::Tensor> held;  // keeps the data alive until it is written
  for (const auto& [name, weight] : network->named_weights())
    held[published_name(name)] = weight.to(torch::kCPU, type).contiguous();
  std::vector<NamedTensor> tensors;
  tensors.reserve(held.size());
  for (const auto& [name, weight] : held) tensors.push_back({name, view_of(weight, dtype)});
  write_safetensors(folder / "model.safetensors", tensors);
  write_config(folder, network->config());
}

}  // namespace dvlm
