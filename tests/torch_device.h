// The device of a test of LibTorch: the CPU, or the card that DVLM_TEST_DEVICE names by its number.
#pragma once
#include <cstdlib>
#include <string>

#include "torch/device.h"

namespace dvlm::test {

inline bool on_card() {
  return std::getenv("DVLM_TEST_DEVICE") != nullptr;
}

// Opens it once, before a test's first use of LibTorch (see open_device).
inline torch::Device torch_device() {
  static const torch::Device device =
      on_card() ? open_device("cuda:" + std::string(std::getenv("DVLM_TEST_DEVICE"))) : torch::kCPU;
  return device;
}

}  // namespace dvlm::test
