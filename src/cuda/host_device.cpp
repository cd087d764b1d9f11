#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/memory.h"
#include "core/stopwatch.h"
#include "cuda/device.h"
#include "cuda/pass.h"
#include "cuda/probe.h"

namespace dvlm::cuda {

namespace {

class HostDevice final : public Device {
 public:
  HostDevice(size_t memory, uint64_t seed) : free_(memory), launcher_(seed) {}
  ~HostDevice() override {
    for (const auto& [memory, bytes] : sizes_) std::free(memory);
  }

  std::string name() const override { return "the host's layer"; }
  int processors() const override { return launcher_.limits().processors; }
  size_t free_bytes() const override { return free_; }

  // Fresh memory holds no numbers.
  void* allocate(size_t bytes) override {
    if (bytes > free_)
      fail("{} has {} of memory left, and {} are needed", name(), bytes_text(static_cast<double>(free_)),
           bytes_text(static_cast<double>(bytes)));
    constexpr size_t kAlign = 256;
    const size_t whole = (bytes / kAlign + 1) * kAlign;
    void* memory = std::aligned_alloc(kAlign, whole);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, whole);
    sizes_[memory] = bytes;
    free_ -= bytes;
    return memory;
  }
  void free(void* memory) noexcept override {
    wait();
    const auto found = sizes_.find(memory);
    free_ += found->second;
    sizes_.erase(found);
    std::free(memory);
  }
  void write(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(const void* from, void* to, size_t bytes) override { copy(from, to, bytes); }
  void copy(const void* from, void* to, size_t bytes) override {
    wait();
    std::memcpy(to, from, bytes);
  }
  void clear(void* memory, size_t bytes) override {
    wait();
    std::memset(memory, 0, bytes);
  }
  // As late as a card might: what is written too early shows.
  void start(const TextTower& tower, const PassBuffers& buffers, const TextPass& pass) override {
    wait();
    layers_ = [this, &tower, buffers, pass] { record_text(launcher_, tower, buffers, pass); };
  }
  void choose(const TextTower& tower, const ChoicePass& pass) override {
    wait();
    record_choice(launcher_, tower, pass);
  }
  void wait() override {
    if (const auto layers = std::exchange(layers_, {})) layers();
  }
  void run(const VisionTower& tower, const PassBuffers& buffers, const VisionPass& pass) override {
    record_vision(launcher_, tower, buffers, pass);
  }
  DeviceRates rates(const ProbeMemory& memory) override {
    constexpr int kRounds = 4;
    return probe_rates(launcher_, memory, kRounds,
                       [](const auto& launches) { return milliseconds_of(launches) / 1000; });
  }

 private:
  size_t free_;
  std::map<void*, size_t> sizes_;
  HostLauncher launcher_;
  std::function<void()> layers_;  // that were started
};

}  // namespace

std::unique_ptr<Device> host_device(size_t memory, uint64_t seed) {
  return std::make_unique<HostDevice>(memory, seed);
}

}  // namespace dvlm::cuda
