// What a model and its sequences may take together.
#pragma once
#include <atomic>
#include <cstddef>

namespace dvlm {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t limit);  // bytes; 0: what the machine has free now, and when asked
  // Throws Error naming the need (`what`) and what is left.
  void reserve(size_t bytes, const char* what);
  size_t free() const;  // bytes that may still be reserved
  void release(size_t bytes) { used_ -= bytes; }

 private:
  size_t free_beside(size_t used) const;

  const bool of_machine_;
  const size_t limit_;
  std::atomic<size_t> used_{0};
};

}  // namespace dvlm
