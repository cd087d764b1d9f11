#include "measure/probes.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "kernels/pages.h"
#include "kernels/targets.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dvlm::probes {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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

__attribute__((target("avx512f,avx512bf16"))) float dot_products(int64_t rounds) {
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
  constexpr int64_t kRounds = 2'000'000;
  static std::atomic<int> sink;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    const bool pairs = uses_avx512_bf16();
    pool.run(
        [&](int) { sink += static_cast<int>(pairs ? dot_products(kRounds) : fused_multiply_adds(kRounds)); });
    best = std::max(best, (pairs ? 4.0 : 2.0) * 16 * 16 * kRounds * pool.threads() / seconds_since(start));
  }
  return best;
#else
  static_cast<void>(pool), static_cast<void>(trials);
  return 0;
#endif
}

}  // namespace dvlm::probes
