// Operators that touch each activation once. Every row is computed alone, so its bits depend on nothing else.
#pragma once
#include "core/thread_pool.h"
#include "kernels/linear.h"

namespace dvlm {

// y = weight * x / sqrt(mean(x^2) + eps), per row of `columns` elements. y may be x.
void rms_norm(Rows x, int columns, const float* weight, float eps, Rows y, ThreadPool& pool);

// Rows hold [gate | up], each `columns` wide; the gate becomes silu(gate) * up.
void swiglu(Rows gate_up, int columns, ThreadPool& pool);

// x = x * Phi(x) with the exact normal distribution function (erf), in place.
void gelu(Rows x, int columns, ThreadPool& pool);

// Rotary embedding of `heads` neighbouring heads of each row, in place: with halves [u, v] of a head,
// [u cos - v sin, v cos + u sin]. cos, sin: [rows, head_dim / 2].
void rotary(Rows x, int heads, int head_dim, const float* cos, const float* sin, ThreadPool& pool);

}  // namespace dvlm
