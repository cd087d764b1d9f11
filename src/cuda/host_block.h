// The host's half of portable.h: kernels run on one thread, each warp as a coroutine that hands over at
// barriers.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/types.h"

namespace dvlm::cuda {
inline namespace on_host {

template <class... Args>
void must(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) [[unlikely]]
    fail(format, std::forward<Args>(args)...);
}

template <class T>
struct Lanes {
  T value[kWarp];
  T& operator[](int lane) { return value[lane]; }
  const T& operator[](int lane) const { return value[lane]; }
};

template <class T>
struct Shared {
  T* data = nullptr;
  size_t size = 0;
  T& operator[](size_t i) const {
    must(i < size, "a kernel reads shared memory at {} of {}", i, size);
    return data[i];
  }
};

template <class T>
auto load(Global<T> from, size_t i) {
  must(i < from.size, "a kernel reads device memory at {} of {}", i, from.size);
  return static_cast<std::remove_const_t<T>>(from.data[i]);
}
template <class T>
void store(Global<T> to, size_t i, T value) {
  must(i < to.size, "a kernel writes device memory at {} of {}", i, to.size);
  to.data[i] = value;
}

// Adds; returns what was there. Warps run in turn.
template <class T>
T atomic_add(Shared<T> to, size_t i, T v) {
  const T before = to[i];
  to[i] = static_cast<T>(before + v);
  return before;
}

class HostGrid;

class Block {
 public:
  int warp() const { return warp_; }
  int x() const { return static_cast<int>(index_.x); }
  int y() const { return static_cast<int>(index_.y); }
  int z() const { return static_cast<int>(index_.z); }
  int blocks_x() const { return static_cast<int>(grid_.x); }

  template <class Body>
  void lanes(Body&& body) const {
    for (int lane = 0; lane < kWarp; ++lane) body(lane);
  }
  void sync();
  void wait_for_predecessor() const {}
  void release_successor() const {}

  template <class T>
  Shared<T> shared(size_t first_byte, size_t count) const {
    must(first_byte % alignof(T) == 0 && first_byte + count * sizeof(T) <= shared_.size(),
         "a kernel wants shared memory up to {}, of {}", first_byte + count * sizeof(T), shared_.size());
    return {reinterpret_cast<T*>(shared_.data() + first_byte), count};
  }
  void copy_async(Shared<Word4> to, size_t i, Global<const Word4> from, size_t j) {
    Word4& target = to[i];
    std::memset(&target, 0xff, sizeof(Word4));  // may not be read before it has arrived
    load(from, j);
    open_.push_back({&target, from.data + j});
  }
  void commit_copies() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  template <int kLeft>
  void wait_copies() {
    arrive(kLeft);
  }

 private:
  friend class HostGrid;
  struct Copy {
    Word4* to;
    const Word4* from;
  };
  void arrive(size_t left);

  int warp_ = 0;
  Dim index_, grid_;
  std::span<std::byte> shared_;
  HostGrid* owner_ = nullptr;
  std::vector<Copy> open_;
  std::vector<std::vector<Copy>> groups_;
};

template <class T>
Lanes<T> shuffle_xor(const Lanes<T>& v, int mask) {
  Lanes<T> out;
  for (int lane = 0; lane < kWarp; ++lane) out[lane] = v[lane ^ mask];
  return out;
}

// c += a x b by the fragment maps of the PTX manual (mma.m16n8k16), accumulated in ascending k.
void mma_bf16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b);
void mma_f16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b);

inline uint16_t bf16_bits(float v) {
  return to_bf16(v).bits;
}
inline float from_bf16(uint16_t bits) {
  return to_float(bf16{bits});
}
uint16_t half_bits(float v);  // of a value that a half holds exactly
inline uint32_t widen_e4m3(uint16_t pair) {
  const auto half = [](uint16_t code) { return half_bits(to_float(e4m3{static_cast<uint8_t>(code)})); };
  return half(pair & 0xffu) | static_cast<uint32_t>(half(static_cast<uint16_t>(pair >> 8))) << 16;
}
inline uint16_t e4m3_as_half(float v) {
  return half_bits(to_float(to_e4m3(v)));
}
inline uint32_t float_bits(float v) {
  return std::bit_cast<uint32_t>(v);
}
inline float exp2_fast(float v) {
  return std::exp2(v);
}
inline float bits_float(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline float ceiling(float v) {
  return std::ceil(v);
}
inline float reciprocal_root(float v) {
  return 1.0f / std::sqrt(v);
}
inline float error_function(float v) {
  return std::erf(v);
}
inline float maximum(float a, float b) {
  return std::fmax(a, b);
}
inline float magnitude(float v) {
  return std::fabs(v);
}

// Runs the blocks of a launch one after the other, in random order.
class HostGrid {
 public:
  explicit HostGrid(uint64_t seed);
  HostGrid(HostGrid&&) noexcept;
  ~HostGrid();
  // Throws Error when a kernel reads or writes out of bounds, or when some warps end before a barrier of
  // others.
  void run(Dim grid, int warps, size_t shared_bytes, const std::function<void(Block&)>& kernel);

 private:
  friend class Block;
  struct Fiber;
  void run_block(Dim index, Dim grid, int warps, const std::function<void(Block&)>& kernel);
  static void enter();
  void yield();

  static thread_local Fiber* entering;  // for a fiber that begins: makecontext() passes no pointers

  std::mt19937_64 random_;
  std::vector<std::byte> shared_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber* current_ = nullptr;
};

class HostLauncher {
 public:
  explicit HostLauncher(uint64_t seed = 1, CardLimits limits = {.processors = 3})
      : grid_(seed), limits_(limits) {}
  const CardLimits& limits() const { return limits_; }
  int launches() const { return launches_; }

  template <class Kernel>
  void launch(Dim grid, size_t shared_bytes, const typename Kernel::Job& job) {
    must(shared_bytes <= limits_.shared, "a kernel wants {} bytes of shared memory", shared_bytes);
    constexpr unsigned kMost = 65'535;  // what cards take; of the first extent 2^31 - 1
    must(grid.y <= kMost && grid.z <= kMost, "a kernel wants a grid of {} x {} x {}", grid.x, grid.y, grid.z);
    grid_.run(grid, Kernel::kThreads / kWarp, shared_bytes, [&](Block& block) { Kernel::run(block, job); });
    ++launches_;
  }

 private:
  HostGrid grid_;
  CardLimits limits_;
  int launches_ = 0;
};

}  // namespace on_host
}  // namespace dvlm::cuda
