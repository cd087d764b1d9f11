#include "native/native_sequence.h"

#include <utility>

#include "core/error.h"

namespace dvlm {

namespace {

int pages_for(int tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace

NativeSequence::NativeSequence(const void* owner, std::shared_ptr<KvPool> pool, int capacity)
    : Sequence(owner), pool_(std::move(pool)) {
  if (capacity < 0) fail("a sequence cannot hold {} tokens", capacity);
  pool_->claim(pages_for(capacity));
  claimed_ = pages_for(capacity);
  capacity_ = capacity;
}

NativeSequence::~NativeSequence() {
  pool_->release(claimed_);
}

void NativeSequence::truncate(int length) {
  if (length < 0 || length > length_)
    fail("a sequence of {} tokens cannot be truncated to {}", length_, length);
  length_ = length;
}

// Full pages are shared. The last one is not when it is partly filled: both will write behind their tokens.
std::unique_ptr<Sequence> NativeSequence::fork(int length) const {
  if (length < 0 || length > length_) fail("a sequence of {} tokens has no first {}", length_, length);
  const int full = length / kPageTokens, rest = length % kPageTokens;
  auto copy = std::make_unique<NativeSequence>(owner(), pool_, rest);
  for (int i = 0; i < full; ++i) copy->append(pages_[static_cast<size_t>(i)]);
  if (rest > 0) {
    copy->append(pool_->take());
    --copy->claimed_;
    pool_->copy(pages_[static_cast<size_t>(full)], copy->pages_.back(), rest);
  }
  copy->capacity_ = copy->length_ = length;
  return copy;
}

bool NativeSequence::reserve(int capacity) {
  if (capacity <= capacity_) return true;
  const int more = pages_for(capacity) - static_cast<int>(pages_.size()) - claimed_;
  try {
    pool_->claim(more);
  } catch (const Error&) {
    return false;
  }
  claimed_ += std::max(more, 0);
  capacity_ = capacity;
  return true;
}

void NativeSequence::trim() {
  const auto kept = static_cast<size_t>(pages_for(length_));
  pages_.resize(kept);
  table_.resize(kept);
  pool_->release(std::exchange(claimed_, 0));
  capacity_ = length_;
}

void NativeSequence::prepare(int end) {
  for (auto i = static_cast<size_t>(length_ / kPageTokens); i < static_cast<size_t>(pages_for(end)); ++i) {
    if (i == pages_.size()) {
      append(pool_->take());
      --claimed_;
    } else if (pages_[i].use_count() > 1) {  // shared, and now written: truncated since
      pool_->claim(1);
      KvPage own = pool_->take();
      pool_->copy(pages_[i], own, std::max(0, length_ - static_cast<int>(i) * kPageTokens));
      table_[i] = own->data();
      pages_[i] = std::move(own);
    }
  }
}

void NativeSequence::append(KvPage page) {
  table_.push_back(page->data());
  pages_.push_back(std::move(page));
}

}  // namespace dvlm
