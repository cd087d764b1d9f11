// What kernels need that are written with AVX-512's intrinsics, bf16 and byte dot products included. Not for
// other rooms.
#pragma once
#if defined(__x86_64__)
#include <hwy/base.h>
#include <immintrin.h>

#include <algorithm>

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12 complains of its own _mm512_undefined_*
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// For lambdas that touch arrays of vectors: called, they would keep these in memory.
#define DVLM_INLINE __attribute__((always_inline))
// A file that is for processors with less says so before it includes this.
#ifndef DVLM_AVX512_FEATURES
#define DVLM_AVX512_FEATURES "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx512vnni"
#endif
#define DVLM_PUSH_AVX512 HWY_PUSH_ATTRIBUTES(DVLM_AVX512_FEATURES)

namespace dvlm {
// The lanes of a vector of 16 at `at` that lie before `end`.
inline __mmask16 lanes_before(int end, int at) {
  return static_cast<__mmask16>((1u << std::clamp(end - at, 0, 16)) - 1);
}
}  // namespace dvlm
#endif
