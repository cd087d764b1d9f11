// Steps between the linear layers that work on whole rows: a block per row.
#pragma once
#include "cuda/fragments.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

constexpr float kE4m3Max = 448;

// Sums and maxima over a block, in an order that depends on its size alone. `scratch`: one float per warp.
template <bool kMaximum>
DVLM_DEVICE float reduce(Block& block, Lanes<float> v, int warps, Shared<float> scratch) {
  for (int mask = 1; mask < kWarp; mask *= 2) {
    const Lanes<float> other = shuffle_xor(v, mask);
    block.lanes(
        [&](int lane) { v[lane] = kMaximum ? maximum(v[lane], other[lane]) : v[lane] + other[lane]; });
  }
  block.lanes([&](int lane) {
    if (lane == 0) scratch[block.warp()] = v[lane];
  });
  block.sync();
  float out = scratch[0];
  for (int w = 1; w < warps; ++w) out = kMaximum ? maximum(out, scratch[w]) : out + scratch[w];
  block.sync();
  return out;
}

// Where a row goes as the input of a linear layer: bf16, or e4m3 with a scale per row (held as halves).
struct RowOutput {
  Global<uint16_t> inputs;  // B of `width` inputs
  Global<float> row_scale;  // [rows], e4m3 only
  int row_tiles = 0;
};

// `values`: the row, in shared memory; each thread wrote the pairs that it reads here: first, first + step,
// ...
template <bool kE4m3, int kThreads>
DVLM_DEVICE void put_row(Block& block, const RowOutput& out, int row, int width, Shared<float> values,
                         Shared<float> scratch) {
  float to_code = 0;
  if constexpr (kE4m3) {
    Lanes<float> largest;
    block.lanes([&](int lane) {
      largest[lane] = 0;
      for (int k = (block.warp() * kWarp + lane) * 2; k < width; k += kThreads * 2)
        for (int i = 0; i < 2; ++i) {
          values[k + i] = from_bf16(bf16_bits(values[k + i]));
          largest[lane] = maximum(largest[lane], magnitude(values[k + i]));
        }
    });
    const float scale = reduce<true>(block, largest, kThreads / kWarp, scratch) / kE4m3Max;
    to_code = scale > 0 ? 1 / scale : 0;
    block.lanes([&](int lane) {
      if (block.warp() == 0 && lane == 0) store(out.row_scale, row, scale);
    });
  }
  block.lanes([&](int lane) {
    const auto bits = [&](float v) { return uint32_t{kE4m3 ? e4m3_as_half(v * to_code) : bf16_bits(v)}; };
    for (int k = (block.warp() * kWarp + lane) * 2; k < width; k += kThreads * 2)
      store(as<uint32_t>(out.inputs), input_index(k, row, out.row_tiles) / 2,
            bits(values[k]) | bits(values[k + 1]) << 16);
  });
}

// The sum of a linear layer's parts, in their order, and with its scales.
struct Parts {
  Global<const float> values;        // [splits][rows][width]
  Global<const float> weight_scale;  // [width], e4m3 only
  Global<const float> row_scale;     // [rows], likewise
  int splits = 0, rows = 0, width = 0;
};
template <bool kE4m3>
DVLM_DEVICE Float2 sum_parts(const Parts& from, int row, int k) {
  const auto at = [&](int split) {
    return load(as<const Float2>(from.values),
                ((static_cast<size_t>(split) * from.rows + row) * from.width + k) / 2);
  };
  Float2 sum = at(0);
  DVLM_UNROLL_BY(8)
  for (int s = 1; s < from.splits; ++s) {
    const Float2 part = at(s);
    sum.x += part.x, sum.y += part.y;
  }
  if constexpr (kE4m3) {
    const float scale = load(from.row_scale, row);
    sum.x *= load(from.weight_scale, k) * scale, sum.y *= load(from.weight_scale, k + 1) * scale;
  }
  return sum;
}

// residual += parts; out = rms_norm(residual) * weight. grid: (rows).
template <bool kPartsE4m3, bool kOutE4m3, int kBlock>
struct Norm {
  struct Job {
    Global<float> residual;  // [rows, width]
    Parts parts;             // splits 0: none
    Global<const float> weight;
    Global<const int> row_of;  // the rows to take; empty: all
    RowOutput out;
    int width = 0;
    float eps = 0;
  };
  static constexpr int kThreads = kBlock;
  static size_t shared_bytes(int width) { return static_cast<size_t>(width + kThreads / kWarp) * 4; }

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const Shared<float> values = block.shared<float>(0, job.width),
                        scratch = block.shared<float>(static_cast<size_t>(job.width) * 4, kThreads / kWarp);
    block.release_successor();
    // A thread's first weights are on their way before it must wait.
    Lanes<Float2> first_weight;
    block.lanes([&](int lane) {
      const int k = (block.warp() * kWarp + lane) * 2;
      if (k < job.width) first_weight[lane] = load(as<const Float2>(job.weight), k / 2);
    });
    block.wait_for_predecessor();
    const int to = block.x(), row = job.row_of.data ? load(job.row_of, to) : to;
    Lanes<float> squares;
    block.lanes([&](int lane) {
      squares[lane] = 0;
      for (int k = (block.warp() * kWarp + lane) * 2; k < job.width; k += kThreads * 2) {
        const size_t at = (static_cast<size_t>(row) * job.width + k) / 2;
        Float2 v = load(as<Float2>(job.residual), at);
        if (job.parts.splits > 0) {
          const Float2 sum = sum_parts<kPartsE4m3>(job.parts, row, k);
          v.x += sum.x, v.y += sum.y;
          store(as<Float2>(job.residual), at, v);
        }
        values[k] = v.x, values[k + 1] = v.y;
        squares[lane] += v.x * v.x + v.y * v.y;
      }
    });
    const float mean =
        reduce<false>(block, squares, kThreads / kWarp, scratch) / static_cast<float>(job.width);
    const float scale = reciprocal_root(mean + job.eps);
    block.lanes([&](int lane) {
      const int first = (block.warp() * kWarp + lane) * 2;
      for (int k = first; k < job.width; k += kThreads * 2) {
        const Float2 weight = k == first ? first_weight[lane] : load(as<const Float2>(job.weight), k / 2);
        values[k] = values[k] * scale * weight.x, values[k + 1] = values[k + 1] * scale * weight.y;
      }
    });
    put_row<kOutE4m3, kThreads>(block, job.out, to, job.width, values, scratch);
  }
};

// Rows of bf16 to e4m3 inputs. grid: (rows).
struct QuantizeRows {
  struct Job {
    Global<const uint16_t> rows;  // [rows, width]
    RowOutput out;
    int width = 0;
  };
  static constexpr int kThreads = 1024;
  static size_t shared_bytes(int width) { return static_cast<size_t>(width + kThreads / kWarp) * 4; }

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const Shared<float> values = block.shared<float>(0, job.width),
                        scratch = block.shared<float>(static_cast<size_t>(job.width) * 4, kThreads / kWarp);
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x();
    block.lanes([&](int lane) {
      DVLM_UNROLL_BY(4)
      for (int k = (block.warp() * kWarp + lane) * 2; k < job.width; k += kThreads * 2) {
        const uint32_t pair =
            load(as<const uint32_t>(job.rows), (static_cast<size_t>(row) * job.width + k) / 2);
        values[k] = from_bf16(static_cast<uint16_t>(pair & 0xffffu)),
        values[k + 1] = from_bf16(static_cast<uint16_t>(pair >> 16));
      }
    });
    put_row<true, kThreads>(block, job.out, row, job.width, values, scratch);
  }
};

// Rows of the embedding table (A's order) to the residual stream. grid: (rows).
struct Embed {
  struct Job {
    Global<const uint16_t> table;
    Global<const int> tokens;
    Global<float> residual;
    int width = 0;
  };
  static constexpr int kThreads = 256;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x(), token = load(job.tokens, row);
    block.lanes([&](int lane) {
      for (int k = block.warp() * kWarp + lane; k < job.width; k += kThreads)
        store(job.residual, static_cast<size_t>(row) * job.width + k,
              from_bf16(load(job.table, weight_index(token, k, job.width))));
    });
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
