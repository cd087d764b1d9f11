// Pages of keys and values in device memory.
#pragma once
#include <memory>

#include "cuda/device_array.h"
#include "model/paged_sequence.h"

namespace dvlm::cuda {

static_assert(kPageTokens == kChunk);

// All pages are allocated at once; the last kScratch belong to no sequence: keys that are not kept stand
// there.
class DevicePages : public PagePool {
 public:
  static constexpr int kScratch = 128;

  // `count`: pages for sequences. Elements of a page: all layers of it.
  DevicePages(std::shared_ptr<Device> device, size_t page_elements, int count,
              std::shared_ptr<MemoryBudget> budget)
      : PagePool(page_elements * sizeof(uint16_t),
                 page_elements * sizeof(uint16_t) * static_cast<size_t>(count), std::move(budget)),
        device_(device),
        count_(count),
        memory_(std::move(device)) {
    // What no token has written weighs nothing, but must be a number.
    memory_.zeros(page_elements * static_cast<size_t>(count + kScratch));
  }

  Global<uint16_t> view() {
    return memory_.room(page_bytes_ / sizeof(uint16_t) * static_cast<size_t>(count_ + kScratch));
  }
  int first_scratch() const { return count_; }

  void copy(int from, int to, int) override {
    std::byte* pages = reinterpret_cast<std::byte*>(view().data);
    device_->copy(pages + static_cast<size_t>(from) * page_bytes_,
                  pages + static_cast<size_t>(to) * page_bytes_, page_bytes_);
  }

 private:
  void allocate(int) override {}
  void free(int) override {}

  std::shared_ptr<Device> device_;
  const int count_;
  DeviceArray<uint16_t> memory_;
};

}  // namespace dvlm::cuda
