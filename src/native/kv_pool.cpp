#include "native/kv_pool.h"

#include <cstring>
#include <utility>

#include "core/error.h"

namespace dvlm {

KvPool::KvPool(const HeadShape& shape, int layers, size_t limit, std::shared_ptr<MemoryBudget> budget)
    : shape_(shape), layers_(layers), limit_(limit), budget_(std::move(budget)) {}

void KvPool::claim(int pages) {
  if (pages <= 0) return;
  if (limit_ > 0 && used() + bytes_of(pages) > limit_) {
    constexpr double kMiB = 1 << 20;
    fail("keys and values need {:.1f} MiB of memory but only {:.1f} of {:.1f} MiB are free",
         static_cast<double>(bytes_of(pages)) / kMiB,
         static_cast<double>(limit_ - std::min(limit_, used())) / kMiB, static_cast<double>(limit_) / kMiB);
  }
  budget_->reserve(bytes_of(pages), "the key/value cache");
  pages_ += pages;
}

void KvPool::release(int pages) {
  pages_ -= pages;
  budget_->release(bytes_of(pages));
}

KvPage KvPool::take() {
  return {new MappedMemory(page_bytes()), [pool = shared_from_this()](MappedMemory* page) {
            delete page;
            pool->release(1);
          }};
}

KvBlocks KvPool::blocks(std::byte* const* table, int layer) const {
  return {.pages = table,
          .offset = layer_bytes() * static_cast<size_t>(layer),
          .head_stride = head_bytes(),
          .page_blocks = kPageTokens / kKvBlock};
}

void KvPool::copy(const KvPage& from, const KvPage& to, int tokens) const {
  const size_t bytes = shape_.block_bytes() * static_cast<size_t>(blocks_for(tokens));
  for (size_t at = 0; bytes > 0 && at < page_bytes(); at += head_bytes())
    std::memcpy(to->data() + at, from->data() + at, bytes);
}

}  // namespace dvlm
