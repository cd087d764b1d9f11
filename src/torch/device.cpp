#include "torch/device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>

#include "core/card_number.h"
#include "core/error.h"
#include "core/machine.h"

namespace dvlm {

torch::Device open_device(const std::string& name) {
  const std::optional<int> card = card_number(name);
  if (name != "cpu" && !card)
    fail("there is no device \"{}\"; LibTorch's are cpu, cuda, cuda:1", printable(name));
  if (name == "cpu") return torch::kCPU;
  // It registers itself when loaded.
  if (!at::CUDAHooksRegistry()->Has("CUDAHooks") && dlopen("libtorch_cuda.so", RTLD_NOW) == nullptr)
    fail(
        "device \"{}\" needs the GPU half of LibTorch, which does not load ({}); docs/training.md, On a "
        "card, "
        "says how to install it",
        name, dlerror());
  const c10::DeviceIndex cards = torch::cuda::device_count();
  if (cards == 0) fail("device \"{}\": LibTorch finds no card; does nvidia-smi list one?", name);
  if (*card >= cards) fail("device \"{}\": LibTorch finds {} card(s), the first is cuda:0", name, cards);
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(*card)};
}

size_t free_bytes(torch::Device device) {
  if (device.is_cpu()) return available_memory_bytes();
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  return allocator == nullptr ? SIZE_MAX : allocator->getMemoryInfo(device.index()).first;
}

}  // namespace dvlm
