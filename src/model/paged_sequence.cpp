#include "model/paged_sequence.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/memory.h"

namespace dvlm {

namespace {

int pages_for(int tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace

PagePool::PagePool(size_t page_bytes, size_t limit, std::shared_ptr<MemoryBudget> budget)
    : page_bytes_(page_bytes), limit_(limit), budget_(std::move(budget)) {}

void PagePool::claim(int pages) {
  if (pages <= 0) return;
  const size_t bytes = page_bytes_ * static_cast<size_t>(pages);
  if (limit_ > 0 && used() + bytes > limit_) {
    fail("keys and values need {} of memory but only {} of {} are free",
         bytes_text(static_cast<double>(bytes)),
         bytes_text(static_cast<double>(limit_ - std::min(limit_, used()))),
         bytes_text(static_cast<double>(limit_)));
  }
  budget_->reserve(bytes, "the key/value cache");
  claimed_ += pages;
}

void PagePool::release(int pages) {
  claimed_ -= pages;
  budget_->release(page_bytes_ * static_cast<size_t>(pages));
}

int PagePool::take() {
  const std::lock_guard lock(mutex_);
  if (unused_.empty()) {
    unused_.push_back(static_cast<int>(holders_.size()));
    holders_.push_back(0);
  }
  const int page = unused_.back();
  allocate(page);
  unused_.pop_back();
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

int PagePool::hold(int page) {
  const std::lock_guard lock(mutex_);
  ++holders_[static_cast<size_t>(page)];
  return page;
}

void PagePool::drop(int page) {
  const std::lock_guard lock(mutex_);
  if (--holders_[static_cast<size_t>(page)] > 0) return;
  free(page);
  unused_.push_back(page);
  release(1);
}

bool PagePool::shared(int page) const {
  const std::lock_guard lock(mutex_);
  return holders_[static_cast<size_t>(page)] > 1;
}

PagedSequence::PagedSequence(const void* owner, std::shared_ptr<PagePool> pool, int capacity)
    : Sequence(owner), pool_(std::move(pool)) {
  if (capacity < 0) fail("a sequence cannot hold {} tokens", capacity);
  pool_->claim(pages_for(capacity));
  claimed_ = pages_for(capacity);
  capacity_ = capacity;
}

PagedSequence::~PagedSequence() {
  for (const int page : pages_) pool_->drop(page);
  pool_->release(claimed_);
}

void PagedSequence::truncate(int length) {
  if (length < 0 || length > length_)
    fail("a sequence of {} tokens cannot be truncated to {}", length_, length);
  length_ = length;
}

// The last page is not shared when it is partly filled: both will write behind their tokens.
std::unique_ptr<Sequence> PagedSequence::fork(int length) const {
  if (length < 0 || length > length_) fail("a sequence of {} tokens has no first {}", length_, length);
  const auto full = static_cast<size_t>(length / kPageTokens);
  const int rest = length % kPageTokens;
  auto copy = std::make_unique<PagedSequence>(owner(), pool_, rest);
  for (size_t i = 0; i < full; ++i) copy->pages_.push_back(pool_->hold(pages_[i]));
  if (rest > 0) {
    copy->pages_.push_back(pool_->take());
    --copy->claimed_;
    pool_->copy(pages_[full], copy->pages_.back(), rest);
  }
  copy->capacity_ = copy->length_ = length;
  return copy;
}

bool PagedSequence::reserve(int capacity) {
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

void PagedSequence::trim() {
  for (; std::ssize(pages_) > pages_for(length_); pages_.pop_back()) pool_->drop(pages_.back());
  pool_->release(std::exchange(claimed_, 0));
  capacity_ = length_;
}

void PagedSequence::prepare(int end) {
  for (int i = length_ / kPageTokens; i < pages_for(end); ++i) {
    if (i == std::ssize(pages_)) {
      pages_.push_back(pool_->take());
      --claimed_;
    } else if (int& page = pages_[static_cast<size_t>(i)]; pool_->shared(page)) {  // written: truncated since
      pool_->claim(1);
      const int own = pool_->take();
      pool_->copy(page, own, std::max(0, length_ - i * kPageTokens));
      pool_->drop(std::exchange(page, own));
    }
  }
}

}  // namespace dvlm
