#include "cuda/portable.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

namespace dvlm::cuda {
inline namespace on_host {

namespace {

constexpr size_t kStackBytes = size_t{256} << 10;

float half_to_float(uint32_t bits) {
  return to_float(f16{static_cast<uint16_t>(bits)});
}
float bf16_to_float(uint32_t bits) {
  return to_float(bf16{static_cast<uint16_t>(bits)});
}

template <float (*kToFloat)(uint32_t)>
void mma(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  float left[16][16], right[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const int group = lane / 4, pair = lane % 4 * 2;
    const uint32_t words[4] = {a[lane].x, a[lane].y, a[lane].z, a[lane].w},
                   halves[2] = {b[lane].x, b[lane].y};
    for (int i = 0; i < 4; ++i) {
      left[group + i % 2 * 8][pair + i / 2 * 8] = kToFloat(words[i] & 0xffffu);
      left[group + i % 2 * 8][pair + i / 2 * 8 + 1] = kToFloat(words[i] >> 16);
    }
    for (int i = 0; i < 2; ++i) {
      right[pair + i * 8][group] = kToFloat(halves[i] & 0xffffu);
      right[pair + i * 8 + 1][group] = kToFloat(halves[i] >> 16);
    }
  }
  float sums[16][8] = {};
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) sums[m][n] += left[m][k] * right[k][n];
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < 4; ++i) c[lane].v[i] += sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

}  // namespace

void mma_bf16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  mma<bf16_to_float>(c, a, b);
}
void mma_f16(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  mma<half_to_float>(c, a, b);
}

uint16_t half_bits(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v), sign = bits >> 16 & 0x8000u,
                 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7fffu);
  if (magnitude == 0) return static_cast<uint16_t>(sign);
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent >= -14) return static_cast<uint16_t>(sign | ((magnitude >> 13) - (112u << 10)));
  return static_cast<uint16_t>(sign | (((magnitude & 0x7fffffu) | 0x800000u) >> (-exponent - 1)));
}

// Two stacks that hand over to each other. swapcontext() asks the kernel for the signal mask each time;
// sanitizers follow it, though, and not _longjmp().
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSwapContexts = true;
#else
constexpr bool kSwapContexts = false;
#endif

class Switch {
 public:
  void prepare(std::span<std::byte> stack, void (*entry)()) {
    getcontext(&own_);
    own_.uc_stack.ss_sp = stack.data(), own_.uc_stack.ss_size = stack.size();
    makecontext(&own_, entry, 0);
  }
  void enter() {
    if (kSwapContexts) {
      swapcontext(&back_, &own_);
      return;
    }
    if (_setjmp(back_jump_) != 0) return;
    if (std::exchange(begun_, true)) _longjmp(own_jump_, 1);
    setcontext(&own_);
  }
  void leave() {
    if (kSwapContexts)
      swapcontext(&own_, &back_);
    else if (_setjmp(own_jump_) == 0)
      _longjmp(back_jump_, 1);
  }

 private:
  ucontext_t own_{}, back_{};
  jmp_buf own_jump_{}, back_jump_{};
  bool begun_ = false;
};

// Runs one kernel after the other.
struct HostGrid::Fiber {
  Switch stacks;
  std::vector<std::byte> stack = std::vector<std::byte>(kStackBytes);
  Block block;
  const std::function<void(Block&)>* kernel = nullptr;
  std::exception_ptr thrown;
  bool done = false;

  Fiber() { stacks.prepare(stack, HostGrid::enter); }
  void start(const std::function<void(Block&)>& what) { kernel = &what, done = false, thrown = nullptr; }
};

HostGrid::HostGrid(uint64_t seed) : random_(seed) {}
HostGrid::HostGrid(HostGrid&&) noexcept = default;
HostGrid::~HostGrid() = default;

thread_local HostGrid::Fiber* HostGrid::entering = nullptr;

void Block::sync() {
  owner_->yield();
}

void Block::arrive(size_t left) {
  while (groups_.size() > left) {
    for (const Copy& copy : groups_.front()) *copy.to = *copy.from;
    groups_.erase(groups_.begin());
  }
}

void HostGrid::yield() {
  current_->stacks.leave();
}

void HostGrid::enter() {
  for (Fiber* const fiber = entering;;) {
    try {
      (*fiber->kernel)(fiber->block);
    } catch (...) {
      fiber->thrown = std::current_exception();
    }
    fiber->done = true;
    fiber->stacks.leave();
  }
}

void HostGrid::run(Dim grid, int warps, size_t shared_bytes, const std::function<void(Block&)>& kernel) {
  shared_.resize(shared_bytes + 16);
  while (std::ssize(fibers_) < warps) fibers_.push_back(std::make_unique<Fiber>());
  std::vector<unsigned> order(size_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random_);
  for (const unsigned i : order)
    run_block({i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y}, grid, warps, kernel);
}

void HostGrid::run_block(Dim index, Dim grid, int warps, const std::function<void(Block&)>& kernel) {
  std::ranges::fill(shared_, std::byte{0xff});
  std::vector<Fiber*> running;
  for (int warp = 0; warp < warps; ++warp) {
    running.push_back(fibers_[static_cast<size_t>(warp)].get());
    running.back()->block = Block();
    Block& block = running.back()->block;
    block.warp_ = warp, block.index_ = index, block.grid_ = grid, block.owner_ = this;
    block.shared_ = std::span(shared_).first(shared_.size() - 16);
    running.back()->start(kernel);
  }
  while (!running.empty()) {
    std::shuffle(running.begin(), running.end(), random_);
    for (Fiber* fiber : running) {
      current_ = entering = fiber;
      fiber->stacks.enter();
      if (fiber->thrown) std::rethrow_exception(fiber->thrown);
    }
    const auto ended = std::ranges::count_if(running, [](const Fiber* fiber) { return fiber->done; });
    must(ended == 0 || ended == std::ssize(running), "{} of {} warps ended before a barrier", ended,
         running.size());
    if (ended > 0) running.clear();
  }
}

}  // namespace on_host
}  // namespace dvlm::cuda
