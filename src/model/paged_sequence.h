// Pages of keys and values by number, and sequences over them. What a page holds, and where, is a device's.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "model/memory_budget.h"
#include "model/model.h"

namespace dvlm {

constexpr int kPageTokens = 64;

// Counts pages before they are touched: a sequence claims room once and then never fails for want of it.
class PagePool {
 public:
  // `limit`: bytes of pages; 0: what `budget` allows.
  PagePool(size_t page_bytes, size_t limit, std::shared_ptr<MemoryBudget> budget);
  virtual ~PagePool() = default;

  void claim(int pages);    // throws Error naming what is left
  void release(int pages);  // of a claim, not taken
  int take();               // one page of a claim, with one holder
  int hold(int page);       // one more holder; returns the page
  void drop(int page);      // its memory returns with the last holder
  bool shared(int page) const;
  virtual void copy(int from, int to, int tokens) = 0;  // the first tokens of a page

  size_t used() const { return page_bytes_ * static_cast<size_t>(claimed_); }
  size_t limit() const { return limit_; }

 protected:
  virtual void allocate(int page) = 0;
  virtual void free(int page) = 0;
  const size_t page_bytes_;

 private:
  const size_t limit_;
  std::shared_ptr<MemoryBudget> budget_;
  std::atomic<int64_t> claimed_{0};  // pages, taken ones included
  mutable std::mutex mutex_;         // sequences may end on any thread
  std::vector<int> holders_;         // of each page
  std::vector<int> unused_;          // pages without holders
};

// Full pages are shared between forks; a shared page is copied before it is written.
class PagedSequence : public Sequence {
 public:
  PagedSequence(const void* owner, std::shared_ptr<PagePool> pool, int capacity);
  ~PagedSequence() override;

  int length() const override { return length_; }
  int capacity() const override { return capacity_; }
  void truncate(int length) override;
  std::unique_ptr<Sequence> fork(int length) const override;
  bool reserve(int capacity) override;
  void trim() override;

  // Pages of its own for tokens [length, end), end <= capacity. Throws Error when another sequence shares one
  // and there is no memory for a copy.
  void prepare(int end);
  void extend_to(int length) { length_ = length; }
  std::span<const int> pages() const { return pages_; }

 private:
  std::shared_ptr<PagePool> pool_;
  int capacity_ = 0, length_ = 0;
  int claimed_ = 0;  // pages for the rest of the capacity
  std::vector<int> pages_;
};

}  // namespace dvlm
