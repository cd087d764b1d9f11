// Products of the small bf16 matrices inside attention: by oneDNN's tile kernels where the machine has tile
// units, by AVX-512's bf16 dot products where it has those, in f32 elsewhere.
#pragma once
#include "core/types.h"

namespace dvlm {

// C [m, n] (+)= A [m, k] B [k, n], k even, B in row pairs: [k / 2][ld_b][2]. Leading dimensions in elements,
// for B in pairs. Sums in f32.
void multiply_pairs(int m, int n, int k, const bf16* a, int ld_a, const bf16* b, int ld_b, float* c, int ld_c,
                    bool accumulate = false);

// Gives back what multiply_pairs has reserved for this thread; call it after the last product of a task.
void release_pair_products();

}  // namespace dvlm
