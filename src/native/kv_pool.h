// The pages of the CPU's keys and values, and where those of a planned pass stand.
#pragma once
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/mapped_memory.h"
#include "model/paged_sequence.h"
#include "model/pass_plan.h"

namespace dvlm {

// A page: [layers][kv_heads][kPageTokens / kKvBlock blocks].
class KvPool : public PagePool {
 public:
  KvPool(const HeadShape& shape, int layers, size_t limit, std::shared_ptr<MemoryBudget> budget);

  std::byte* data(int page) const { return pages_[static_cast<size_t>(page)]->data(); }
  // Layer `layer` of the pages whose addresses are in `table`.
  KvBlocks blocks(std::byte* const* table, int layer) const;
  void copy(int from, int to, int tokens) override;  // in whole blocks

 private:
  void allocate(int page) override;
  void free(int page) override { pages_[static_cast<size_t>(page)].reset(); }

  const HeadShape shape_;
  const size_t head_bytes_, layer_bytes_;
  std::vector<std::unique_ptr<MappedMemory>> pages_;
};

struct NativeSegment : PlannedSegment {
  PagedSequence* sequence = nullptr;
  size_t first_page = 0;  // of the sequence's, in NativePass::table
  // Keys that are not kept stand in scratch space: block 0 there is the sequence's block `cache_blocks`, and
  // begins with copies of the committed tokens of a partial block and of the parent's tokens.
  int cache_blocks = 0;
  int own_blocks = 0, first_own_block = 0;
};

struct NativePass {
  PassPlan plan;
  std::vector<NativeSegment> segments;
  std::vector<std::byte*> table;  // addresses of all sequences' pages
  const KvPool* pool = nullptr;
  int own_blocks = 0;

  // Plans the pass and gives kept tokens pages of their own. Throws Error as PassPlan does, and when memory
  // for a page is short; nothing has changed then.
  void prepare(std::span<const Segment> given, const void* owner, const ModelConfig& config,
               const KvPool& kv);
  // The committed keys and values that a segment sees, in one layer.
  KvBlocks cache(const NativeSegment& segment, int layer) const {
    return pool->blocks(table.data() + segment.first_page, layer);
  }
};

}  // namespace dvlm
