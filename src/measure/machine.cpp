#include "measure/machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/load_model.h"
#include "core/error.h"
#include "cuda/device_array.h"
#include "kernels/targets.h"
#include "measure/probes.h"

namespace dvlm {

struct Machine::Card {
  std::shared_ptr<cuda::Device> device;
  cuda::DeviceArray<cuda::Word4> words;
  cuda::DeviceArray<uint32_t> sums;
  cuda::ProbeMemory memory = {};

  explicit Card(const std::shared_ptr<cuda::Device>& of) : device(of), words(of), sums(of) {}

  cuda::DeviceRates rates() {
    if (memory.words.size == 0) {
      constexpr size_t kMost = size_t{1} << 30, kBlocks = 4, kThreads = 256;  // blocks of a multiprocessor
      memory.words = words.zeros(std::min(kMost, device->free_bytes() / 8) / sizeof(cuda::Word4));
      memory.sums = sums.zeros(static_cast<size_t>(device->processors()) * kBlocks * kThreads);
    }
    return device->rates(memory);
  }
};

Machine::Machine(const std::string& device, int threads) : device_(device), pool_(threads) {
  if (device == "auto") fail("a measurement names its device: --device cpu or --device cuda");
  if (const std::shared_ptr<cuda::Device> found = open_card(device)) card_ = std::make_unique<Card>(found);
}

Machine::~Machine() = default;

ModelOptions Machine::options(ModelOptions given) const {
  given.device = device_, given.threads = threads();
  return given;
}

std::string Machine::card() const {
  return card_ ? card_->device->name() : "";
}

std::string Machine::text() const {
  return card_ ? card() : fmt::format("{} threads, {}", threads(), isa_name());
}

Rates Machine::rates() {
  if (!card_) return {probes::read_bandwidth(pool_, 1), probes::multiply_rate(pool_, 1)};
  const cuda::DeviceRates found = card_->rates();
  return {found.bytes, found.operations};
}

}  // namespace dvlm
