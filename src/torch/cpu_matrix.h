// Products of bf16 matrices on a CPU, sums in f32: what LibTorch does not offer, or multiplies number by
// number.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace dvlm {

// The small ones inside attention, by oneDNN's tile kernels where the machine has tile units, by AVX-512's
// bf16 dot products where it has those, in f32 elsewhere.
// C [m, n] (+)= A [m, k] B [k, n], k even, B in row pairs: [k / 2][ld_b][2]. Leading dimensions in elements,
// for B in pairs.
void multiply_pairs(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c, int ld_c,
                    bool accumulate = false);

// Gives back what multiply_pairs has reserved for this thread; call it after the last product of a task.
void release_pair_products();

// Element (i, j) is data[i * row + j * column]; one of the two steps is 1.
struct HalfMatrix {
  const bf16* data;
  ptrdiff_t row, column;
  HalfMatrix transposed() const { return {data, column, row}; }
};

// Those of linear layers for machines that multiply f32 only, on LibTorch's threads, whose number changes no
// bit. y [m, n] = bf16(A [m, k] B [k, n] + bias); bias may be null.
void multiply_in_float(int64_t m, int64_t n, int64_t k, const HalfMatrix& a, const HalfMatrix& b,
                       const float* bias, bf16* y);
// c [m, n] += A [m, k] B [k, n], for large k.
void add_product_in_float(int64_t m, int64_t n, int64_t k, const HalfMatrix& a, const HalfMatrix& b,
                          float* c);

}  // namespace dvlm
