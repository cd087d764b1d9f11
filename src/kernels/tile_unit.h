// The matrix unit of AMX: eight tiles of up to 16 rows of 64 bytes. Instructions by inline assembly, so that
// no compiler needs to know them, and the same in plain code, so that kernels can be tested on other machines
// (semantics: Intel's manual, volume 2, TDPBF16PS and TDPBSSD). Not for other rooms but measurements.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "core/types.h"

namespace dvlm {

constexpr int kTileRows = 16, kTileBytes = 64;  // of a row

// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int count) {
    rows[tile] = static_cast<uint8_t>(count);
    bytes[tile] = kTileBytes;
  }
};

static_assert(sizeof(TileShapes) == 64 && offsetof(TileShapes, bytes) == 16 &&
              offsetof(TileShapes, rows) == 48);

#if defined(__x86_64__)
struct HardwareTiles {
  static void configure(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
  static void release() { asm volatile("tilerelease"); }
  template <int T>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  template <int T>
  static void load(const void* from, size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
  }
  template <int T>
  static void store(void* to, size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
  }
  // Sums += A B: rows of A hold 32 bf16 (64 signed bytes), rows of B pairs (quads) of 16 columns.
  template <int Sums, int A, int B>
  static void multiply_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
  }
  template <int Sums, int A, int B>
  static void multiply_int8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
  }
};
#endif

struct EmulatedTiles {
  struct State {
    TileShapes shapes;
    alignas(64) std::byte tiles[8][kTileRows][kTileBytes];
  };
  static State& state() {
    static thread_local State state;
    return state;
  }
  // Stricter than the manual where that costs our kernels nothing: what faults there must not pass here.
  static void configure(const TileShapes& shapes) {
    for (int tile = 0; tile < 8; ++tile) {
      DVLM_ASSERT((shapes.rows[tile] > 0) == (shapes.bytes[tile] > 0));
      DVLM_ASSERT(shapes.rows[tile] <= kTileRows && shapes.bytes[tile] <= kTileBytes);
    }
    state().shapes = shapes;
    std::memset(state().tiles, 0, sizeof state().tiles);
  }
  static void release() { state().shapes = {}; }
  template <int T>
  static void zero() {
    DVLM_ASSERT(state().shapes.rows[T] > 0);
    std::memset(state().tiles[T], 0, sizeof state().tiles[T]);
  }
  template <int T>
  static void load(const void* from, size_t stride) {
    zero<T>();
    for (int r = 0; r < state().shapes.rows[T]; ++r)
      std::memcpy(state().tiles[T][r], static_cast<const char*>(from) + static_cast<size_t>(r) * stride,
                  kTileBytes);
  }
  template <int T>
  static void store(void* to, size_t stride) {
    DVLM_ASSERT(state().shapes.rows[T] > 0);
    for (int r = 0; r < state().shapes.rows[T]; ++r)
      std::memcpy(static_cast<char*>(to) + static_cast<size_t>(r) * stride, state().tiles[T][r], kTileBytes);
  }
  template <int Sums, int A, int B>
  static void multiply_bf16() {
    each<Sums, A, B, float, bf16>([](float sum, const bf16* a, const auto& b) {
      float even = 0, odd = 0;
      for (int k = 0; k < kTileBytes / 4; ++k) {
        even = __builtin_fmaf(to_float(a[2 * k]), to_float(b(k, 0)), even);
        odd = __builtin_fmaf(to_float(a[2 * k + 1]), to_float(b(k, 1)), odd);
      }
      return sum + (even + odd);
    });
  }
  template <int Sums, int A, int B>
  static void multiply_int8() {
    each<Sums, A, B, int32_t, int8_t>([](int32_t sum, const int8_t* a, const auto& b) {
      for (int k = 0; k < kTileBytes; ++k) sum += a[k] * b(k / 4, k % 4);
      return sum;
    });
  }

 private:
  // dot(sum, row of A, b): b(k, i) is value i of the word in row k of B that stands in the sum's column.
  template <int Sums, int A, int B, class Sum, class Value, class Dot>
  static void each(const Dot& dot) {
    static_assert(Sums != A && Sums != B && A != B);
    auto& tiles = state().tiles;
    const auto& rows = state().shapes.rows;
    DVLM_ASSERT(rows[Sums] > 0 && rows[Sums] == rows[A] && rows[B] == kTileRows);
    constexpr int kPerWord = 4 / static_cast<int>(sizeof(Value));
    for (int r = 0; r < state().shapes.rows[Sums]; ++r) {
      for (int n = 0; n < kTileBytes / 4; ++n) {
        auto& sum = reinterpret_cast<Sum*>(tiles[Sums][r])[n];
        sum = dot(sum, reinterpret_cast<const Value*>(tiles[A][r]), [&](int k, int i) {
          return reinterpret_cast<const Value*>(tiles[B][k])[n * kPerWord + i];
        });
      }
    }
  }
};

}  // namespace dvlm
