// y = x W^T + bias for a few to many rows, at the speed of memory for few and of the multipliers for many.
#pragma once
#include <cstddef>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/matrix.h"

namespace dvlm {

// A matrix of floats with `stride` elements from row to row.
struct Rows {
  float* data = nullptr;
  size_t stride = 0;
  int count = 0;
  float* row(int i) const { return data + static_cast<size_t>(i) * stride; }
  Rows part(int first, int n) const { return {row(first), stride, n}; }
};

// Inputs as the kernel reads them, and sums between slices of long inputs; grows to the largest call.
struct LinearScratch {
  Buffer<float> inputs, partial;
  Buffer<float> scales;  // of each row of inputs, where the format rounds them
  static size_t floats(int rows, int inputs);
};

// Panels of a matrix: outputs [first * kPanel, (first + count) * kPanel).
struct PanelRange {
  int first = 0, count = 0;
};

enum class LinearMode : uint8_t {
  store,  // y = x W^T + bias
  add,    // y += x W^T + bias
};

// x [rows, w.inputs()], y [rows, w.outputs()]; they must not overlap. With bf16 weights x is rounded to bf16
// first. Each output accumulates its products in ascending order of inputs (docs/model.md), then bias,
// then y: its bits depend on its own row alone, not on rows.count or threads.
// With fp8 weights (docs/reference.md, FP8 products) x is rounded to bf16, scaled by s = max |x| / 448 of its
// row and rounded to e4m3; the sum of exact products times s, times the output's scale, is rounded to bf16,
// and again after the bias. A row with NaN or infinity gives NaN. With int8 and int4 weights x is scaled by
// max |x| / 127 and rounded to integers likewise; results stay f32.
void linear(const PackedMatrix& w, Rows x, Rows y, LinearMode mode, LinearScratch& scratch, ThreadPool& pool);

// Floats that linear() holds beside rows, outputs and packed inputs, at most.
size_t most_partial_sums(int64_t rows, int64_t inputs, int64_t outputs);

// The same for some outputs: y [rows, as many as `panels` have].
void linear(const PackedMatrix& w, PanelRange panels, Rows x, Rows y, LinearMode mode, LinearScratch& scratch,
            ThreadPool& pool);

}  // namespace dvlm
