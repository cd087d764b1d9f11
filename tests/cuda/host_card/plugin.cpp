// The host's layer as the card of a program that was built without CUDA: `dvlm --device cuda` from end to
// end, where no card is. It stands in for libdvlm_cuda_plugin.so, and is named so.
#include <cstdio>

#include "cuda/cards.h"

namespace {
constexpr size_t kMemory = size_t{1} << 30;
}

#define DVLM_EXPORT extern "C" __attribute__((visibility("default")))

DVLM_EXPORT const char* dvlm_plugin_version() {
  return DVLM_VERSION;
}

DVLM_EXPORT int dvlm_cuda_cards(dvlm::cuda::CardInfo* to, int, char*, size_t) {
  dvlm::cuda::CardInfo& card = *to;
  std::snprintf(card.name, sizeof card.name, "%s", dvlm::cuda::host_device(kMemory)->name().c_str());
  card.memory = kMemory, card.major = 9, card.processors = dvlm::cuda::host_device(kMemory)->processors();
  return 1;
}

DVLM_EXPORT int dvlm_cuda_free(int, size_t* bytes, char*, size_t) {
  *bytes = kMemory;
  return 0;
}

DVLM_EXPORT dvlm::cuda::Device* dvlm_cuda_open(int index, char* problem, size_t size) {
  if (index == 0) return dvlm::cuda::host_device(kMemory).release();
  std::snprintf(problem, size, "there is no card %d: this machine has 0 to 0", index);
  return nullptr;
}
