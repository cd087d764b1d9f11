// Arrays in the memory of a device.
#pragma once
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"
#include "cuda/device.h"
#include "model/device_lost.h"

namespace dvlm::cuda {

// How much memory is asked for where there is too little.
enum class Growth : uint8_t {
  exact,
  doubling,  // of what grows a little from pass to pass: its address stays, by which a pass is known again
};

// Memory of a device that grows and is given back with the object. Throws Error where the device has none
// left.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::shared_ptr<Device> device, Growth growth = Growth::exact)
      : device_(std::move(device)), growth_(growth) {}
  ~DeviceArray() {
    if (data_) device_->free(data_);
  }
  DeviceArray(DeviceArray&& other) noexcept
      : device_(std::move(other.device_)),
        growth_(other.growth_),
        data_(std::exchange(other.data_, nullptr)),
        size_(other.size_) {}
  DeviceArray& operator=(DeviceArray&&) = delete;

  // Forgets what it holds when it must grow.
  Global<T> room(size_t count) {
    if (count > size_) {
      if (data_) device_->free(std::exchange(data_, nullptr));
      size_ = 0;  // and stays so when there is no memory
      const size_t capacity = growth_ == Growth::doubling ? std::bit_ceil(count) : count;
      data_ = static_cast<T*>(allocate(capacity * sizeof(T)));
      size_ = capacity;
    }
    return {data_, count};
  }
  Global<T> hold(std::span<const T> values) {
    const Global<T> out = room(values.size());
    if (!values.empty()) device_->write(out.data, values.data(), values.size_bytes());
    return out;
  }
  Global<T> zeros(size_t count) {
    const Global<T> out = room(count);
    device_->clear(out.data, count * sizeof(T));
    return out;
  }
  Global<T> hold(const std::vector<T>& values) { return hold(std::span(values)); }
  std::vector<T> read(size_t first, size_t count) const {
    std::vector<T> out(count);
    if (count > 0) device_->read(data_ + first, out.data(), count * sizeof(T));
    return out;
  }

 private:
  // A plugin knows no Error of ours.
  void* allocate(size_t bytes) try { return device_->allocate(bytes); } catch (const DeviceLost&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw Error(error.what());
  }

  std::shared_ptr<Device> device_;
  Growth growth_;
  T* data_ = nullptr;
  size_t size_ = 0;
};

// Of what passes are asked and answer.
template <class T>
class PassArray : public DeviceArray<T> {
 public:
  explicit PassArray(std::shared_ptr<Device> device) : DeviceArray<T>(std::move(device), Growth::doubling) {}
};

}  // namespace dvlm::cuda
