#include "measure/probes.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/stopwatch.h"
#include "kernels/pages.h"
#include "kernels/targets.h"
#include "kernels/tile_unit.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dvlm::probes {

namespace {

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float fused_multiply_adds(int64_t rounds) {
  __m512 sums[16];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  __m512 total = sums[0];
  for (int i = 1; i < 16; ++i) total = _mm512_add_ps(total, sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, total);
  return lanes[0] + lanes[15];
}

__attribute__((target("avx512f,avx512bf16"))) float pair_products(int64_t rounds) {
  __m512 sums[16];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3F80));  // 1
  const auto b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3080));  // 2^-30
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  }
  __m512 total = sums[0];
  for (int i = 1; i < 16; ++i) total = _mm512_add_ps(total, sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, total);
  return lanes[0] + lanes[15];
}

void tile_products(int64_t rounds) {
  using T = HardwareTiles;
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) shapes.set(tile, kTileRows);
  T::configure(shapes);  // zeroes the tiles
  for (int64_t i = 0; i < rounds; ++i) {
    T::multiply_bf16<0, 4, 6>(), T::multiply_bf16<1, 4, 7>();
    T::multiply_bf16<2, 5, 6>(), T::multiply_bf16<3, 5, 7>();
  }
  T::release();
}

// Runs the multiplications that linear layers use for bf16; returns floating-point operations.
double multiply(int64_t rounds) {
  static std::atomic<int> sink;
  switch (dot_products()) {
    case DotProducts::amx:
      tile_products(rounds);
      return 4.0 * 2 * kTileRows * 16 * 32 * static_cast<double>(rounds);
    case DotProducts::avx512_bf16:
    case DotProducts::emulated_amx:
      sink += static_cast<int>(pair_products(rounds));
      return 16.0 * 4 * 16 * static_cast<double>(rounds);
    case DotProducts::none:
      sink += static_cast<int>(fused_multiply_adds(rounds));
      return 16.0 * 2 * 16 * static_cast<double>(rounds);
  }
  return 0;
}
#endif

}  // namespace

// One stream per thread with prefetches, as weights are read.
double read_bandwidth(ThreadPool& pool, int trials) {
  using Vector = uint64_t __attribute__((vector_size(64)));  // a line
  constexpr int64_t kLines = (int64_t{1} << 30) / sizeof(Vector);
  constexpr int kAhead = 40;
  static Pages pages(sizeof(Vector) * kLines);  // huge pages, as weights have
  const auto* data = reinterpret_cast<const Vector*>(pages.data());
  static const bool touched = [] {
    for (size_t at = 0; at < pages.size(); at += 4096) pages.data()[at] = std::byte{1};
    return true;
  }();
  static_cast<void>(touched);
  static std::atomic<uint64_t> sink;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kLines, [&](int64_t begin, int64_t end) {
      Vector sum[4] = {};
      for (const Vector *p = data + begin, *last = data + end; p + 4 <= last; p += 4) {
        for (int i = 0; i < 4; ++i) {
          __builtin_prefetch(p + kAhead + i);
          sum[i] ^= p[i];
        }
      }
      sink += sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
    });
    best = std::max(best, static_cast<double>(sizeof(Vector)) * kLines / seconds_since(start));
  }
  return best;
}

double multiply_rate(ThreadPool& pool, int trials) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512f")) return 0;
  constexpr int64_t kRounds = 1'000'000;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<double> operations(static_cast<size_t>(pool.threads()));
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int thread) { operations[static_cast<size_t>(thread)] = multiply(kRounds); });
    const double seconds = seconds_since(start);
    best = std::max(best, std::accumulate(operations.begin(), operations.end(), 0.0) / seconds);
  }
  return best;
#else
  static_cast<void>(pool), static_cast<void>(trials);
  return 0;
#endif
}

}  // namespace dvlm::probes
