// Kernels are written once, for nvcc and for the host. A kernel is a type with a `Job` (plain data, passed by
// value), `kThreads`, and `run(Block&, const Job&)`: the code of one warp. What differs between the lanes of
// a warp is a Lanes<T>, and lives between calls of Block::lanes(), whose body runs for each lane: at once on
// a device, in turn on the host. Control flow outside lanes() is the same for all lanes of a warp.
//
// On the host (host_block.h) shared memory is poisoned, indices are checked, asynchronous copies arrive when
// they are waited for and not before, and warps between two barriers run in random order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define DVLM_DEVICE __device__ __forceinline__
#define DVLM_BOTH __host__ __device__ __forceinline__
#define DVLM_UNROLL _Pragma("unroll")
#define DVLM_PRAGMA(text) _Pragma(#text)
#define DVLM_UNROLL_BY(times) DVLM_PRAGMA(unroll times)
#define DVLM_LAYER on_device
#else
#define DVLM_DEVICE inline
#define DVLM_BOTH inline
#define DVLM_UNROLL
#define DVLM_UNROLL_BY(times)
#define DVLM_LAYER on_host
#endif

namespace dvlm::cuda {

constexpr int kWarp = 32;

struct alignas(8) Word2 {
  uint32_t x, y;
};
struct alignas(16) Word4 {
  uint32_t x, y, z, w;
};
struct alignas(8) Float2 {
  float x, y;
};
// A lane's share of mma's C: rows lane / 4 (v[0], v[1]) and lane / 4 + 8, columns lane % 4 * 2 and the next.
struct Float4 {
  float v[4];
};

// Device memory. Its bounds are checked on the host only.
template <class T>
struct Global {
  T* data = nullptr;
  size_t size = 0;
  Global() = default;
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>) DVLM_BOTH Global(const Global<U>& from)
      : data(from.data), size(from.size) {}
  DVLM_BOTH Global(T* pointer, size_t count) : data(pointer), size(count) {}
  DVLM_BOTH Global tail(size_t first) const { return {data + first, size - first}; }
};

// The same memory as values of another type.
template <class U, class T>
DVLM_BOTH Global<U> as(Global<T> from) {
  return {reinterpret_cast<U*>(from.data), from.size * sizeof(T) / sizeof(U)};
}

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

// Those of Hopper; cards of other kinds have 99 to 163 KiB.
struct CardLimits {
  int processors = 132;
  size_t shared = size_t{227} << 10;  // bytes that a block may take
};

}  // namespace dvlm::cuda

#ifdef __CUDACC__
#include "cuda/device_block.h"
#else
#include "cuda/host_block.h"
#endif
