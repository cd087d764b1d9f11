#include "native/kv_pool.h"

#include <cstring>

namespace dvlm {

namespace {

size_t bytes_of_head(const HeadShape& shape) {
  return shape.block_bytes() * (kPageTokens / kKvBlock);
}
size_t bytes_of_layer(const HeadShape& shape) {
  return bytes_of_head(shape) * static_cast<size_t>(shape.kv_heads);
}

}  // namespace

KvPool::KvPool(const HeadShape& shape, int layers, size_t limit, std::shared_ptr<MemoryBudget> budget)
    : PagePool(bytes_of_layer(shape) * static_cast<size_t>(layers), limit, std::move(budget)),
      shape_(shape),
      head_bytes_(bytes_of_head(shape)),
      layer_bytes_(bytes_of_layer(shape)) {}

void KvPool::allocate(int page) {
  if (page == std::ssize(pages_)) pages_.emplace_back();
  pages_[static_cast<size_t>(page)] = std::make_unique<MappedMemory>(page_bytes_);
}

KvBlocks KvPool::blocks(std::byte* const* table, int layer) const {
  return {.pages = table,
          .offset = layer_bytes_ * static_cast<size_t>(layer),
          .head_stride = head_bytes_,
          .page_blocks = kPageTokens / kKvBlock};
}

void KvPool::copy(int from, int to, int tokens) {
  const size_t bytes = shape_.block_bytes() * static_cast<size_t>(blocks_for(tokens));
  for (size_t at = 0; bytes > 0 && at < page_bytes_; at += head_bytes_)
    std::memcpy(data(to) + at, data(from) + at, bytes);
}

void NativePass::prepare(std::span<const Segment> given, const void* owner, const ModelConfig& config,
                         const KvPool& kv) {
  plan.plan(given, owner, config);
  segments.clear();
  table.clear();
  pool = &kv;
  own_blocks = 0;
  for (const PlannedSegment& planned : plan.segments) {
    const Segment& segment = *planned.segment;
    NativeSegment own{planned, static_cast<PagedSequence*>(segment.sequence)};
    if (segment.keep) {
      own.cache_blocks = blocks_for(segment.context + own.rows);
    } else {
      own.cache_blocks = segment.context / kKvBlock;
      own.own_blocks = blocks_for(own.own_position() + own.rows) - own.cache_blocks;
    }
    own.first_own_block = own_blocks;
    own_blocks += own.own_blocks;
    segments.push_back(own);
  }
  for (const NativeSegment& segment : segments)
    if (segment.segment->keep) segment.sequence->prepare(segment.segment->context + segment.rows);
  for (NativeSegment& segment : segments) {
    segment.first_page = table.size();
    for (const int page : segment.sequence->pages()) table.push_back(kv.data(page));
  }
}

}  // namespace dvlm
