#include "cuda/cards.h"

#include "core/error.h"
#include "core/plugin.h"

namespace dvlm::cuda {

namespace {

constexpr const char* kPlugin = "libdvlm_cuda_plugin.so";

const Plugin& plugin() {
  static const Plugin loaded(kPlugin, "--device cuda", "build it with ./dev build cuda where nvcc is");
  return loaded;
}

}  // namespace

bool has_plugin() {
  return Plugin::is_there(kPlugin);
}

std::vector<CardInfo> cards() {
  constexpr int kMost = 64;
  std::vector<CardInfo> out(kMost);
  char problem[512] = "";
  const int count =
      plugin().function<CudaCards>("dvlm_cuda_cards")(out.data(), kMost, problem, sizeof problem);
  if (count < 0) fail("{}", problem);
  out.resize(static_cast<size_t>(count));
  return out;
}

size_t free_bytes(int index) {
  size_t out = 0;
  char problem[512] = "";
  if (plugin().function<CudaFree>("dvlm_cuda_free")(index, &out, problem, sizeof problem) < 0)
    fail("{}", problem);
  return out;
}

std::shared_ptr<Device> open_card(int index) {
  char problem[512] = "";
  Device* const device = plugin().function<CudaOpen>("dvlm_cuda_open")(index, problem, sizeof problem);
  if (!device) fail("{}; --device cpu does without", problem);
  return std::shared_ptr<Device>(device);
}

}  // namespace dvlm::cuda
