#include "torch/device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <algorithm>

#include "core/error.h"

namespace dvlm {

bool is_device_name(std::string_view name) {
  constexpr std::string_view kNumbered = "cuda:";
  if (name == "cpu" || name == "cuda") return true;
  if (!name.starts_with(kNumbered)) return false;
  name.remove_prefix(kNumbered.size());
  const bool digits = std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && (name.size() == 1 || (name.size() == 2 && name[0] != '0'));
}

torch::Device open_device(const std::string& name) {
  if (!is_device_name(name))
    fail("there is no device \"{}\"; LibTorch's are cpu, cuda, cuda:1", printable(name));
  if (name == "cpu") return torch::kCPU;
  // It registers itself when loaded.
  if (!at::CUDAHooksRegistry()->Has("CUDAHooks") && dlopen("libtorch_cuda.so", RTLD_NOW) == nullptr)
    fail(
        "device \"{}\" needs the GPU half of LibTorch, which does not load ({}); docs/gpu.md says how to "
        "install it",
        name, dlerror());
  const torch::Device device(name == "cuda" ? "cuda:0" : name);
  const c10::DeviceIndex cards = torch::cuda::device_count();
  if (cards == 0) fail("device \"{}\": LibTorch finds no card; does nvidia-smi list one?", name);
  if (device.index() >= cards)
    fail("device \"{}\": LibTorch finds {} card(s), the first is cuda:0", name, cards);
  return device;
}

}  // namespace dvlm
