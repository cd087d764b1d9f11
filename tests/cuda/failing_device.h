// The host's layer as a card that fails when it is told to.
#pragma once
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "cuda/device.h"
#include "model/device_lost.h"

namespace dvlm::test {

class FailingDevice : public cuda::Device {
 public:
  static constexpr const char* kLost = "the card failed to finish its work (for a test): start dvlm again";

  // Lost, too, as soon as there is a file `lost_with`.
  explicit FailingDevice(size_t memory, std::filesystem::path lost_with = {})
      : host_(cuda::host_device(memory)), lost_with_(std::move(lost_with)) {}

  // Passes wait from now on, until lose().
  void hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void lose() {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  }
  // So many of the next allocations find no memory.
  void refuse_memory(int times) {
    const std::lock_guard lock(mutex_);
    refusals_ = times;
  }
  int refusals_left() const {
    const std::lock_guard lock(mutex_);
    return refusals_;
  }

  std::string name() const override { return host_->name(); }
  int processors() const override { return host_->processors(); }
  size_t free_bytes() const override {
    check();
    return host_->free_bytes();
  }
  void* allocate(size_t bytes) override {
    check();
    {
      const std::lock_guard lock(mutex_);
      if (refusals_ > 0) {
        --refusals_;
        fail("the card has no {} bytes of memory left", bytes);
      }
    }
    return host_->allocate(bytes);
  }
  void free(void* memory) noexcept override { host_->free(memory); }
  void write(void* to, const void* from, size_t bytes) override {
    check();
    host_->write(to, from, bytes);
  }
  void read(const void* from, void* to, size_t bytes) override {
    check();
    host_->read(from, to, bytes);
  }
  void copy(const void* from, void* to, size_t bytes) override {
    check();
    host_->copy(from, to, bytes);
  }
  void clear(void* memory, size_t bytes) override {
    check();
    host_->clear(memory, bytes);
  }
  void start(const cuda::TextTower& tower, const cuda::PassBuffers& buffers,
             const cuda::TextPass& pass) override {
    begin();
    host_->start(tower, buffers, pass);
  }
  void choose(const cuda::TextTower& tower, const cuda::ChoicePass& pass) override {
    check();
    host_->choose(tower, pass);
  }
  void wait() override {
    check();
    host_->wait();
  }
  void run(const cuda::VisionTower& tower, const cuda::PassBuffers& buffers,
           const cuda::VisionPass& pass) override {
    begin();
    host_->run(tower, buffers, pass);
  }

  cuda::DeviceRates rates(const cuda::ProbeMemory& memory) override {
    check();
    return host_->rates(memory);
  }

 private:
  void begin() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_ || lost_; });
    lock.unlock();
    check();
  }
  void check() const {
    const std::lock_guard lock(mutex_);
    if (lost_ || (!lost_with_.empty() && std::filesystem::exists(lost_with_))) throw DeviceLost(kLost);
  }

  const std::shared_ptr<cuda::Device> host_;
  const std::filesystem::path lost_with_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false, lost_ = false;
  int refusals_ = 0;
};

}  // namespace dvlm::test
