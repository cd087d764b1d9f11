// Device memory for a RunnerOn; nvcc only.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tower_runner.h"

#define CHECK_CUDA(call)                                                                            \
  do {                                                                                              \
    const cudaError_t said = (call);                                                                \
    if (said != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(said)); \
      std::exit(1);                                                                                 \
    }                                                                                               \
  } while (0)

namespace dvlm::test {

// Freed when the program ends, or by release(). Copies share what they hold.
class DeviceMemory {
 public:
  template <class T>
  cuda::Global<T> upload(const std::vector<T>& from) {
    const cuda::Global<T> to = fresh<T>(from.size());
    CHECK_CUDA(cudaMemcpy(to.data, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    return to;
  }
  template <class T>
  cuda::Global<T> fresh(size_t count) {
    return {static_cast<T*>(take(count * sizeof(T), 0xff)), count};
  }
  template <class T>
  cuda::Global<T> zeroed(size_t count) {
    return {static_cast<T*>(take(count * sizeof(T), 0)), count};
  }
  template <class T>
  void download(cuda::Global<T> from, std::vector<T>& to, size_t count) {
    to.resize(count);
    CHECK_CUDA(cudaMemcpy(to.data(), from.data, count * sizeof(T), cudaMemcpyDeviceToHost));
  }
  size_t mark() const { return buffers_->size(); }
  void release(size_t mark) {
    while (buffers_->size() > mark) {
      CHECK_CUDA(cudaFree(buffers_->back()));
      buffers_->pop_back();
    }
  }

 private:
  void* take(size_t bytes, int value) {
    void* p = nullptr;
    CHECK_CUDA(cudaMalloc(&p, bytes + 256));
    CHECK_CUDA(cudaMemset(p, value, bytes + 256));
    CHECK_CUDA(cudaDeviceSynchronize());
    buffers_->push_back(p);
    return p;
  }
  std::shared_ptr<std::vector<void*>> buffers_ = std::make_shared<std::vector<void*>>();
};

}  // namespace dvlm::test
