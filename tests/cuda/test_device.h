// The device of a test: the host's layer, or the card that DVLM_TEST_DEVICE names by its number.
#pragma once
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "cuda/cards.h"
#include "cuda/device.h"

namespace dvlm::test {

inline bool on_card() {
  return std::getenv("DVLM_TEST_DEVICE") != nullptr;
}

// `seed`: of the host layer's order.
inline std::shared_ptr<cuda::Device> test_device(uint64_t seed = 1) {
  if (!on_card()) return cuda::host_device(size_t{1} << 30, seed);
  const std::string_view text = std::getenv("DVLM_TEST_DEVICE");
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    fail("DVLM_TEST_DEVICE is no number: {}", text);
  return cuda::open_card(number);
}

}  // namespace dvlm::test
