// The pages of the CPU's keys and values.
#pragma once
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/mapped_memory.h"
#include "model/paged_sequence.h"

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

}  // namespace dvlm
