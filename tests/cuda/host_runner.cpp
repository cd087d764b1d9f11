#include "tower_runner.h"

namespace dvlm::test {

namespace {

class HostMemory {
 public:
  template <class T>
  cuda::Global<T> upload(const std::vector<T>& from) {
    cuda::Global<T> to = fresh<T>(from.size());
    std::memcpy(static_cast<void*>(to.data), from.data(), from.size() * sizeof(T));
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
    to.assign(from.data, from.data + count);
  }

 private:
  void* take(size_t bytes, int value) {
    buffers_.emplace_back((bytes + 63) / 64 + 1);
    void* p = buffers_.back().data();
    std::memset(p, value, bytes);
    return p;
  }
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<std::vector<Line>> buffers_;
};

}  // namespace

std::unique_ptr<TowerRunner> host_runner(const TowerData& data, int pages, uint64_t seed, size_t shared) {
  return std::make_unique<RunnerOn<HostMemory, cuda::HostLauncher>>(data, pages, HostMemory(),
                                                                    cuda::HostLauncher(seed, {3, shared}));
}

}  // namespace dvlm::test
