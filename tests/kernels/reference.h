// The slow and obvious version of every kernel: the oracle of tests. Sums in double.
#pragma once
#include <span>

#include "core/types.h"

namespace dvlm::reference {

// y [rows, outputs] = x [rows, inputs] w^T + bias; w [outputs, inputs], bias [outputs] or empty.
void linear(std::span<const float> x, std::span<const float> w, std::span<const float> bias, int rows,
            int inputs, int outputs, std::span<float> y);

// The same in W8A8 (docs/reference.md, FP8 products): codes [outputs, inputs] with scales [outputs]; x is
// rounded to bf16, scaled by row and rounded to e4m3; outputs are rounded to bf16 before and after the bias.
void linear_fp8(std::span<const float> x, std::span<const e4m3> codes, std::span<const float> scales,
                std::span<const float> bias, int rows, int inputs, int outputs, std::span<float> y);

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps,
              std::span<float> y);  // one row

void swiglu(std::span<const float> gate, std::span<const float> up, std::span<float> y);

void gelu(std::span<const float> x, std::span<float> y);

void rotary(std::span<const float> x, std::span<const float> angles,
            std::span<float> y);  // one head; angles [dim / 2]

// One query over `keys` and `values`, each [visible, head_dim].
void attention(std::span<const float> query, std::span<const float> keys, std::span<const float> values,
               std::span<float> y);

}  // namespace dvlm::reference
