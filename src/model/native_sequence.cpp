#include "model/native_sequence.h"

#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/memory.h"

namespace dvlm {

void MemoryBudget::reserve(size_t bytes, const char* what) {
  const size_t used = used_.fetch_add(bytes);
  const size_t free = limit_ == 0 ? available_memory_bytes() : limit_ - std::min(limit_, used);
  if (bytes <= free) return;
  used_ -= bytes;
  constexpr double kGiB = 1 << 30;
  fail("{} needs {:.2f} GiB of memory but only {:.2f} GiB are free{}", what,
       static_cast<double>(bytes) / kGiB, static_cast<double>(free) / kGiB,
       limit_ == 0 ? "; close other programs or use a smaller model or a shorter context"
                   : " under the limit that was set; raise it, or use a smaller model or a shorter context");
}

NativeSequence::NativeSequence(const void* owner, const HeadShape& shape, int layers, int capacity,
                               std::shared_ptr<MemoryBudget> budget)
    : owner_(owner), shape_(shape), layers_(layers), capacity_(capacity), budget_(std::move(budget)) {
  if (capacity < 0) fail("a sequence cannot hold {} tokens", capacity);
  const size_t bytes = layer_bytes() * static_cast<size_t>(layers);
  budget_->reserve(bytes, "the key/value cache");
  reserved_ = bytes;
  try {
    pages_ = Pages(bytes);
  } catch (...) {
    budget_->release(bytes);
    throw;
  }
}

NativeSequence::~NativeSequence() {
  budget_->release(reserved_);
}

void NativeSequence::truncate(int length) {
  if (length < 0 || length > length_)
    fail("a sequence of {} tokens cannot be truncated to {}", length_, length);
  length_ = length;
}

std::unique_ptr<Sequence> NativeSequence::fork() const {
  auto copy = std::make_unique<NativeSequence>(owner_, shape_, layers_, capacity_, budget_);
  copy_to(*copy);
  return copy;
}

bool NativeSequence::reserve(int capacity) {
  if (capacity <= capacity_) return true;
  try {
    NativeSequence grown(owner_, shape_, layers_, capacity, budget_);
    copy_to(grown);
    std::swap(pages_, grown.pages_);
    std::swap(capacity_, grown.capacity_);
    std::swap(reserved_, grown.reserved_);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void NativeSequence::copy_to(NativeSequence& other) const {
  const size_t used = shape_.block_bytes() * static_cast<size_t>(blocks_for(length_));
  const size_t heads = static_cast<size_t>(layers_) * static_cast<size_t>(shape_.kv_heads);
  for (size_t head = 0; used > 0 && head < heads; ++head)
    std::memcpy(other.pages_.data() + head * other.head_bytes(), pages_.data() + head * head_bytes(), used);
  other.length_ = length_;
}

}  // namespace dvlm
