// libdvlm_cuda_plugin.so of a machine with three cards: an old one, a small one, and one that computes as the
// host's layer does until there is the file that DVLM_CARD_LOST names.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cuda/cards.h"
#include "cuda/failing_device.h"

#define DVLM_EXPORT extern "C" __attribute__((visibility("default")))

using namespace dvlm;

namespace {

constexpr int kCards = 3;
constexpr size_t kFree[kCards] = {size_t{1} << 30, size_t{1} << 20, size_t{1} << 30};
constexpr const char* kNames[kCards] = {"Old Card", "Small Card", "Large Card"};
constexpr const char* kProblem = "has the instruction set 7.5, and dvlm needs 8.0";

}  // namespace

DVLM_EXPORT const char* dvlm_plugin_version() {
  return DVLM_VERSION;
}

DVLM_EXPORT int dvlm_cuda_cards(cuda::CardInfo* to, int most, char*, size_t) {
  for (int i = 0; i < std::min(most, kCards); ++i) {
    to[i].memory = size_t{1} << 30, to[i].major = i == 0 ? 7 : 9, to[i].processors = 1;
    std::snprintf(to[i].name, sizeof to[i].name, "%s", kNames[i]);
    if (i == 0) std::snprintf(to[i].problem, sizeof to[i].problem, "%s", kProblem);
  }
  return std::min(most, kCards);
}

DVLM_EXPORT int dvlm_cuda_free(int index, size_t* bytes, char*, size_t) {
  *bytes = kFree[index];
  return 0;
}

DVLM_EXPORT cuda::Device* dvlm_cuda_open(int index, char* problem, size_t size) {
  if (index >= kCards) {
    std::snprintf(problem, size, "there is no card %d: this machine has 0 to %d", index, kCards - 1);
    return nullptr;
  }
  if (index == 0) {
    std::snprintf(problem, size, "%s %s", kNames[0], kProblem);
    return nullptr;
  }
  const char* const lost = std::getenv("DVLM_CARD_LOST");
  return new test::FailingDevice(kFree[index], lost ? lost : "");
}
