// Committed tokens of one sequence: keys and values of all layers, contiguous up to a capacity.
#pragma once
#include <atomic>
#include <memory>

#include "kernels/attention.h"
#include "kernels/pages.h"
#include "model/model.h"

namespace dvlm {

// What a model and its sequences may take together. Throws Error naming the need and what is left.
class MemoryBudget {
 public:
  explicit MemoryBudget(size_t limit) : limit_(limit) {}  // 0: what the machine has free when asked
  void reserve(size_t bytes, const char* what);
  void release(size_t bytes) { used_ -= bytes; }

 private:
  size_t limit_;
  std::atomic<size_t> used_{0};
};

class NativeSequence : public Sequence {
 public:
  NativeSequence(const void* owner, const HeadShape& shape, int layers, int capacity,
                 std::shared_ptr<MemoryBudget> budget);
  ~NativeSequence() override;

  int length() const override { return length_; }
  void truncate(int length) override;
  std::unique_ptr<Sequence> fork() const override;
  bool reserve(int capacity) override;

  const void* owner() const { return owner_; }  // the model whose keys these are
  int capacity() const { return capacity_; }
  void extend_to(int length) { length_ = length; }
  KeyBlocks layer(int layer) {
    return {pages_.data() + layer_bytes() * static_cast<size_t>(layer), head_bytes()};
  }

 private:
  void copy_to(NativeSequence& other) const;  // of at least this length's capacity
  size_t head_bytes() const { return shape_.block_bytes() * static_cast<size_t>(blocks_for(capacity_)); }
  size_t layer_bytes() const { return head_bytes() * static_cast<size_t>(shape_.kv_heads); }

  const void* owner_;
  HeadShape shape_;
  int layers_, capacity_, length_ = 0;
  std::shared_ptr<MemoryBudget> budget_;
  size_t reserved_ = 0;
  Pages pages_;  // [layers][kv_heads][blocks]; pages beyond the length are never touched
};

}  // namespace dvlm
