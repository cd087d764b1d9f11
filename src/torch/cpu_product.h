// What products of bf16 matrices are made of where a processor multiplies f32 only: f32 copies of pieces that
// stay in its caches, and tiles of sums in its registers.
#pragma once
#include <cstddef>

#include "core/types.h"

namespace dvlm::product {

// Element (i, t) is data[i / tile_rows * tile + i % tile_rows * row + t * step].
struct FloatMatrix {
  const float* data;
  ptrdiff_t tile, row, step;
};

struct Kernels {
  int tile_rows;  // of C whose sums are in registers together
  int panel;      // columns of B that stand beside each other

  // bf16 [rows, columns] -> f32, zeros from there to ld_to. Leading dimensions in elements.
  void (*widen)(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to, ptrdiff_t ld_to);
  // bf16 [rows, columns] -> its transposed matrix in f32: {to, tile, 1, tile_rows}, in whole tiles.
  void (*widen_transposed)(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to,
                           ptrdiff_t tile);
  // Row pairs [rows / 2][ld_from][2] -> f32 [rows][panel], zeros from `columns` <= panel on.
  void (*widen_pairs)(const bf16* from, ptrdiff_t ld_from, int rows, int columns, float* to);
  // C [m, n] (+)= A [m, k] B [k, n], B in panels [n / panel, rounded up][k][panel].
  void (*multiply)(int m, int n, int k, const FloatMatrix& a, const float* panels, float* c, ptrdiff_t ld_c,
                   bool accumulate);
  // y = bf16(x + bias); bias may be null.
  void (*narrow)(const float* x, const float* bias, int n, bf16* y);
};

// Compiled for the best instruction set of this machine.
const Kernels& kernels();

}  // namespace dvlm::product
