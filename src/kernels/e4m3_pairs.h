// e4m3 weights as bf16, with AVX-512's permutes of bytes. Not for other rooms.
#pragma once
#include "kernels/avx512.h"
#include "kernels/matrix.h"

#if defined(__x86_64__)
DVLM_PUSH_AVX512
namespace dvlm {
namespace {

// Tables from the low seven bits of an e4m3 code to the bytes of the bf16 of its magnitude.
struct Tables {
  alignas(64) uint8_t low[128], high[128];
  Tables() {
    for (int code = 0; code < 128; ++code) {
      const uint16_t bits = to_bf16(to_float(e4m3{static_cast<uint8_t>(code)})).bits;
      low[code] = static_cast<uint8_t>(bits), high[code] = static_cast<uint8_t>(bits >> 8);
    }
  }
};
const Tables& tables() {
  static const Tables made;  // not before main: the constructor may use AVX-512
  return made;
}

// Turns 64 e4m3 codes of an fp8 panel into the bf16 pairs of outputs 0..15 and 16..31.
struct E4m3Pairs {
  __m512i low[2], high[2], sign = _mm512_set1_epi8(static_cast<char>(0x80));
  E4m3Pairs() {
    for (int i = 0; i < 2; ++i) {
      low[i] = _mm512_load_si512(tables().low + 64 * i);
      high[i] = _mm512_load_si512(tables().high + 64 * i);
    }
  }
  void dequantize(const std::byte* p, __m512i* words) const {
    const __m512i codes = _mm512_load_si512(p);
    const __m512i lows = _mm512_permutex2var_epi8(low[0], codes, low[1]);
    const __m512i magnitude = _mm512_permutex2var_epi8(high[0], codes, high[1]);
    const __m512i highs =
        _mm512_ternarylogic_epi32(magnitude, codes, sign, 0xF8);  // magnitude | (codes & sign)
    words[0] = _mm512_unpacklo_epi8(lows, highs);
    words[1] = _mm512_unpackhi_epi8(lows, highs);
  }
};

}  // namespace
}  // namespace dvlm
HWY_POP_ATTRIBUTES
#endif
