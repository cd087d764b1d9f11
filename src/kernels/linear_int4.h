// What kernels that multiply four-bit weights as integers share. Not for other rooms.
#pragma once
#include "kernels/prefetch.h"

namespace dvlm {

// The place where a row block meets a panel of four-bit weights; inputs are summed_bytes.
struct Int4Place {
  static constexpr int kBytesPerInput = kPanel / 2, kInputBlocks = kInt4Group / kInputBlock;
  static constexpr int kWords = input_block_words(InputForm::summed_bytes), kLine = kInputBlocks * kWords;
  static_assert(kInputBlocks == input_blocks_per_line(InputForm::summed_bytes));
  const std::byte *scales, *weights;  // of the panel
  const int32_t* x;                   // [groups of inputs][rows][kLine]

  Int4Place(const LinearJob& job, const RowBlock& row_block, int panel) {
    const auto row = static_cast<size_t>(job.first_row(row_block.number)),
               rows = static_cast<size_t>(job.rows(row_block.number)),
               first = static_cast<size_t>(row_block.first);
    const std::byte* begin = job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes();
    scales = begin + first / kInt4Group * kPanel * sizeof(bf16);
    weights = begin + int4_scale_bytes(job.w->inputs()) + first * kBytesPerInput;
    x = reinterpret_cast<const int32_t*>(job.inputs) + row * static_cast<size_t>(job.input_blocks * kWords) +
        first / kInt4Group * rows * kLine;
  }
};

}  // namespace dvlm
