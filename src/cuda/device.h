// A card, or the host's layer in its place: memory, and the passes of both towers.
#pragma once
#include <memory>
#include <string>

#include "cuda/tower.h"

namespace dvlm::cuda {

// Bytes read per second, and multiplications and additions per second of the instruction that linear layers
// use in BF16.
struct DeviceRates {
  double bytes = 0, operations = 0;
};
struct ProbeMemory {
  Global<Word4> words;    // what is read
  Global<uint32_t> sums;  // of each thread that reads: whole blocks of 256
};

class Device {
 public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual std::string name() const = 0;
  virtual int processors() const = 0;
  virtual size_t free_bytes() const = 0;
  virtual void* allocate(size_t bytes) = 0;      // aligned to 256 bytes; throws Error when memory is short
  virtual void free(void* memory) noexcept = 0;  // also of a device that is lost
  // Each returns when it is done and throws DeviceLost when the device has failed for good, as allocate()
  // does. write() does not wait for layers that start() began; free() and the others do.
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  virtual void read(const void* from, void* to, size_t bytes) = 0;
  virtual void copy(const void* from, void* to, size_t bytes) = 0;
  virtual void clear(void* memory, size_t bytes) = 0;  // to zeros
  // Throw a std::runtime_error for what else the device reports.
  // start() may return before the layers are done: until choose() or wait() nothing that they use may be
  // written.
  virtual void start(const TextTower& tower, const PassBuffers& buffers, const TextPass& pass) = 0;
  virtual void choose(const TextTower& tower, const ChoicePass& pass) = 0;
  virtual void wait() = 0;
  virtual void run(const VisionTower& tower, const PassBuffers& buffers, const VisionPass& pass) = 0;
  // Measured now (probe.h).
  virtual DeviceRates rates(const ProbeMemory& memory) = 0;
};

// Kernels run as coroutines of one thread (host_block.h); `seed` is that of their order.
std::unique_ptr<Device> host_device(size_t memory, uint64_t seed = 1);

}  // namespace dvlm::cuda
