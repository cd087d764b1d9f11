// Keys and values in pages that sequences may share.
#pragma once
#include <atomic>
#include <memory>

#include "kernels/attention.h"
#include "kernels/mapped_memory.h"
#include "model/memory_budget.h"

namespace dvlm {

constexpr int kPageTokens = 64;

// [layers][kv_heads][kPageTokens / kKvBlock blocks]. Its memory returns with the last sequence that holds it.
using KvPage = std::shared_ptr<MappedMemory>;

// Counts pages before they are touched: a sequence claims room once and then never fails for want of it. Must
// be owned by a shared_ptr.
class KvPool : public std::enable_shared_from_this<KvPool> {
 public:
  // `limit`: bytes of pages; 0: what `budget` allows.
  KvPool(const HeadShape& shape, int layers, size_t limit, std::shared_ptr<MemoryBudget> budget);

  void claim(int pages);    // throws Error naming what is left
  void release(int pages);  // of a claim, not taken
  KvPage take();            // one page of a claim

  // Layer `layer` of the pages in `table`.
  KvBlocks blocks(std::byte* const* table, int layer) const;
  // Copies the first `tokens` tokens of a page, in whole blocks.
  void copy(const KvPage& from, const KvPage& to, int tokens) const;

  size_t used() const { return bytes_of(pages_); }
  size_t limit() const { return limit_; }

 private:
  size_t head_bytes() const { return shape_.block_bytes() * (kPageTokens / kKvBlock); }
  size_t layer_bytes() const { return head_bytes() * static_cast<size_t>(shape_.kv_heads); }
  size_t page_bytes() const { return layer_bytes() * static_cast<size_t>(layers_); }
  size_t bytes_of(int64_t pages) const { return page_bytes() * static_cast<size_t>(pages); }

  HeadShape shape_;
  int layers_;
  size_t limit_;
  std::shared_ptr<MemoryBudget> budget_;
  std::atomic<int64_t> pages_{0};  // claimed or taken
};

}  // namespace dvlm
