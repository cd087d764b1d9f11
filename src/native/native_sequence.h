// Committed tokens of one sequence: a table of pages of keys and values.
#pragma once
#include <memory>
#include <vector>

#include "model/model.h"
#include "native/kv_pool.h"

namespace dvlm {

class NativeSequence : public Sequence {
 public:
  NativeSequence(const void* owner, std::shared_ptr<KvPool> pool, int capacity);
  ~NativeSequence() override;

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
  KvBlocks layer(int layer) const { return pool_->blocks(table_.data(), layer); }

 private:
  void append(KvPage page);

  std::shared_ptr<KvPool> pool_;
  int capacity_ = 0, length_ = 0;
  int claimed_ = 0;  // pages for the rest of the capacity
  std::vector<KvPage> pages_;
  std::vector<std::byte*> table_;  // their addresses
};

}  // namespace dvlm
