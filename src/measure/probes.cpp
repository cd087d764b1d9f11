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

double read_bandwidth(ThreadPool& pool, int trials) {
  using Vector = uint64_t __attribute__((vector_size(16)));
  constexpr int64_t kCount = (int64_t{1} << 30) / 16;
  static Pages pages(16 * kCount);  // huge pages, as weights have
  const Vector* data = reinterpret_cast<const Vector*>(pages.data());
  static const bool touched = [] {
    for (size_t at = 0; at < pages.size(); at += 4096) pages.data()[at] = std::byte{1};
    return true;
  }();
  static_cast<void>(touched);
  static std::atomic<uint64_t> sink;
  double best = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kCount, [&](int64_t begin, int64_t end) {
      Vector sum[4] = {};
      const int64_t quarter = (end - begin) / 4;
      const Vector* p = data + begin;
      for (int64_t i = 0; i + 4 <= quarter; i += 4) {
        for (int s = 0; s < 4; ++s) {
          const Vector* stream = p + s * quarter + i;
          sum[s] ^= stream[0] ^ stream[1] ^ stream[2] ^ stream[3];
        }
      }
      sink += sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
    });
    best = std::max(best, 16.0 * kCount / seconds_since(start));
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
