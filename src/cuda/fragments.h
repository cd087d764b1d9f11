// Where elements lie in device memory. Matrices are kept in the order in which mma's fragments (PTX manual,
// mma.m16n8k16) take them, so that a lane loads what it multiplies with one access.
#pragma once
#include "cuda/portable.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

constexpr int kTileWords = 32;   // Word4 of a tile of A: 16 outputs x 16 inputs, or x 32 with e4m3 weights
constexpr int kRowTile = 8;      // rows of a tile of B
constexpr int kPanelWords = 16;  // Word4 of a tile of B: 16 inputs x 8 rows

DVLM_BOTH constexpr int round_up(int value, int step) {
  return (value + step - 1) / step * step;
}

// Index of input k of row n among 16-bit elements of B: [k / 16][row tiles][lane][4].
DVLM_BOTH size_t input_index(int k, int n, int row_tiles) {
  const int lane = n % 8 * 4 + k % 8 / 2;
  return ((static_cast<size_t>(k / 16) * row_tiles + n / 8) * 32 + lane) * 4 + k / 8 % 2 * 2 + k % 2;
}

// Index of (output m, input k) among the 16-bit elements of A: [m / 16][inputs / 16][lane][8].
DVLM_BOTH size_t weight_index(int m, int k, int inputs) {
  const int lane = m % 8 * 4 + k % 8 / 2, word = m / 8 % 2 + k / 8 % 2 * 2;
  return ((static_cast<size_t>(m / 16) * (inputs / 16) + k / 16) * 32 + lane) * 8 + word * 2 + k % 2;
}

// The same among the bytes of e4m3 weights: [m / 16][inputs / 32][lane][16]; the low half of a word belongs
// to the first 16 inputs.
DVLM_BOTH size_t e4m3_index(int m, int k, int inputs) {
  const int lane = m % 8 * 4 + k % 8 / 2, word = m / 8 % 2 + k / 8 % 2 * 2;
  return ((static_cast<size_t>(m / 16) * (inputs / 32) + k / 32) * 32 + lane) * 16 + word * 4 +
         k / 16 % 2 * 2 + k % 2;
}

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
