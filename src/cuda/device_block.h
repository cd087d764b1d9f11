// The device's half of portable.h.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstring>
#include <type_traits>

namespace dvlm::cuda {
inline namespace on_device {

template <class T>
struct Lanes {
  T value;
  DVLM_DEVICE T& operator[](int) { return value; }
  DVLM_DEVICE const T& operator[](int) const { return value; }
};

template <class T>
struct Shared {
  T* data;
  DVLM_DEVICE T& operator[](size_t i) const { return data[i]; }
};

// Loads bypass L1: a kernel may start before the one that writes its inputs has ended, and L1 is not
// coherent.
template <class T>
DVLM_DEVICE T load(Global<T> from, size_t i) {
  using Value = std::remove_const_t<T>;
  const Value* at = from.data + i;
  Value out;
  if constexpr (sizeof(Value) % 16 == 0) {
    for (size_t w = 0; w < sizeof(Value) / 16; ++w) {
      const uint4 v = __ldcg(reinterpret_cast<const uint4*>(at) + w);
      memcpy(reinterpret_cast<char*>(&out) + w * 16, &v, 16);
    }
  } else if constexpr (sizeof(Value) % 8 == 0) {
    for (size_t w = 0; w < sizeof(Value) / 8; ++w) {
      const uint2 v = __ldcg(reinterpret_cast<const uint2*>(at) + w);
      memcpy(reinterpret_cast<char*>(&out) + w * 8, &v, 8);
    }
  } else {
    out = __ldcg(at);
  }
  return out;
}
template <class T>
DVLM_DEVICE void store(Global<T> to, size_t i, T value) {
  to.data[i] = value;
}

class Block {
 public:
  DVLM_DEVICE explicit Block(uint8_t* shared) : shared_(shared) {}

  DVLM_DEVICE int warp() const { return static_cast<int>(threadIdx.x) / kWarp; }
  DVLM_DEVICE int x() const { return static_cast<int>(blockIdx.x); }
  DVLM_DEVICE int y() const { return static_cast<int>(blockIdx.y); }
  DVLM_DEVICE int z() const { return static_cast<int>(blockIdx.z); }
  DVLM_DEVICE int blocks_x() const { return static_cast<int>(gridDim.x); }

  template <class Body>
  DVLM_DEVICE void lanes(Body&& body) const {
    body(static_cast<int>(threadIdx.x) % kWarp);
  }
  DVLM_DEVICE void sync() const { __syncthreads(); }
  // What the previous kernel wrote may be read from here on.
  DVLM_DEVICE void wait_for_predecessor() const {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }
  // The next kernel may start; it sees what this one writes only after wait_for_predecessor().
  DVLM_DEVICE void release_successor() const {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
  }

  template <class T>
  DVLM_DEVICE Shared<T> shared(size_t first_byte, size_t) const {
    return {reinterpret_cast<T*>(shared_ + first_byte)};
  }
  // 16 bytes of one lane, past L1.
  DVLM_DEVICE void copy_async(Shared<Word4> to, size_t i, Global<const Word4> from, size_t j) const {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to.data + i));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from.data + j) : "memory");
  }
  DVLM_DEVICE void commit_copies() const {
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  // All but the newest kLeft groups of this warp have arrived. Others' need a sync() more.
  template <int kLeft>
  DVLM_DEVICE void wait_copies() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
  }

 private:
  uint8_t* shared_;
};

// Adds; returns what was there.
DVLM_DEVICE uint32_t atomic_add(Shared<uint32_t> to, size_t i, uint32_t v) {
  return atomicAdd(to.data + i, v);
}
DVLM_DEVICE uint64_t atomic_add(Shared<uint64_t> to, size_t i, uint64_t v) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(to.data + i), static_cast<unsigned long long>(v));
}

template <class T>
DVLM_DEVICE Lanes<T> shuffle_xor(const Lanes<T>& v, int mask) {
  return {__shfl_xor_sync(0xffffffffu, v.value, mask)};
}

DVLM_DEVICE void mma_bf16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  float* v = c.value.v;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
      : "r"(a.value.x), "r"(a.value.y), "r"(a.value.z), "r"(a.value.w), "r"(b.value.x), "r"(b.value.y));
}
DVLM_DEVICE void mma_f16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  float* v = c.value.v;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
      : "r"(a.value.x), "r"(a.value.y), "r"(a.value.z), "r"(a.value.w), "r"(b.value.x), "r"(b.value.y));
}

DVLM_DEVICE uint16_t bf16_bits(float v) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(v));
}
DVLM_DEVICE float from_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
// Two e4m3 values as two halves: exact.
DVLM_DEVICE uint32_t widen_e4m3(uint16_t pair) {
#if __CUDA_ARCH__ >= 890
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
  return halves;
#else
  // Exponent and fraction of an e4m3 are those of a half that is 2^8 smaller, subnormal ones too.
  const auto small = [](uint32_t code) { return (code & 0x80u) << 8 | (code & 0x7fu) << 7; };
  const uint32_t low = pair & 0xffu, high = pair >> 8, halves = small(low) | small(high) << 16,
                 scale = 0x5c005c00u;
  uint32_t out;
  asm("mul.f16x2 %0, %1, %2;" : "=r"(out) : "r"(halves), "r"(scale));
  if ((low & 0x7fu) == 0x7fu) out |= 0x7fffu;
  if ((high & 0x7fu) == 0x7fu) out |= 0x7fff0000u;
  return out;
#endif
}
// The half that equals v after rounding to e4m3 (clamped to +-448).
DVLM_DEVICE uint16_t e4m3_as_half(float v) {
  const __nv_fp8_storage_t code = __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
  return static_cast<uint16_t>(widen_e4m3(code) & 0xffffu);
}
DVLM_DEVICE uint32_t float_bits(float v) {
  return __float_as_uint(v);
}
DVLM_DEVICE float exp2_fast(float v) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
DVLM_DEVICE float bits_float(uint32_t bits) {
  return __uint_as_float(bits);
}
DVLM_DEVICE float ceiling(float v) {
  return ceilf(v);
}
DVLM_DEVICE float reciprocal_root(float v) {
  return 1.0f / sqrtf(v);
}
DVLM_DEVICE float error_function(float v) {
  return erff(v);
}
DVLM_DEVICE float maximum(float a, float b) {
  return fmaxf(a, b);
}
DVLM_DEVICE float magnitude(float v) {
  return fabsf(v);
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, 1)
    run_kernel(const __grid_constant__ typename Kernel::Job job) {
  extern __shared__ __align__(128) uint8_t shared[];
  Block block(shared);
  Kernel::run(block, job);
}

// Puts kernels on a stream; with `dependent` each may start while the one before it ends.
class DeviceLauncher {
 public:
  explicit DeviceLauncher(cudaStream_t stream, bool dependent = true)
      : stream_(stream), dependent_(dependent) {}

  const CardLimits& limits() const { return limits_; }
  void set_limits(const CardLimits& limits) { limits_ = limits; }
  cudaError_t status() const { return status_; }
  int launches() const { return launches_; }

  template <class Kernel>
  void launch(Dim grid, size_t shared_bytes, const typename Kernel::Job& job) {
    if (status_ != cudaSuccess) return;
    const auto kernel = run_kernel<Kernel>;
    if (shared_bytes > 48 * 1024) {
      status_ = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared_bytes));
      if (status_ != cudaSuccess) return;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(grid.x, grid.y, grid.z), config.blockDim = dim3(Kernel::kThreads);
    config.dynamicSmemBytes = shared_bytes, config.stream = stream_;
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute, config.numAttrs = dependent_ ? 1 : 0;
    status_ = cudaLaunchKernelEx(&config, kernel, job);
    ++launches_;
  }

 private:
  cudaStream_t stream_;
  bool dependent_;
  CardLimits limits_;
  int launches_ = 0;
  cudaError_t status_ = cudaSuccess;
};

}  // namespace on_device
}  // namespace dvlm::cuda
