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
  Global<uint16_t> inputs;  // B; with row_tiles 0: bf16 rows, one behind the other
  Global<float> row_scale;  // [rows], e4m3 only
  int row_tiles = 0;
  int group = 1;  // rows that stand side by side in one row of the layer; bf16 only
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
    const int to_row = row / out.group, first = row % out.group * width;
    for (int k = (block.warp() * kWarp + lane) * 2; k < width; k += kThreads * 2)
      store(as<uint32_t>(out.inputs),
            (out.row_tiles == 0 ? static_cast<size_t>(row) * width + k
                                : input_index(first + k, to_row, out.row_tiles)) /
                2,
            bits(values[k]) | bits(values[k + 1]) << 16);
  });
}

// The sum of a linear layer's parts, in their order, with its scales and its bias.
struct Parts {
  Global<const float> values;        // [splits][rows][width]
  Global<const float> weight_scale;  // [width], e4m3 only
  Global<const float> row_scale;     // [rows], likewise
  Global<const float> bias;          // [width]; may be empty
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
  if (from.bias.data) sum.x += load(from.bias, k), sum.y += load(from.bias, k + 1);
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
    int width = 0, mean_width = 0;  // stored, and of the network: beyond it stand zeros
    float eps = 0;
    bool fresh = false;  // the residual is zero so far, whatever the memory holds
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
        Float2 v = job.fresh ? Float2{0, 0} : load(as<Float2>(job.residual), at);
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
        reduce<false>(block, squares, kThreads / kWarp, scratch) / static_cast<float>(job.mean_width);
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

// Rows of f32, or the sum of parts through GELU, to inputs. grid: (rows).
template <bool kGelu, bool kE4m3>
struct RoundRows {
  struct Job {
    Global<const float> rows;  // [rows, width], without kGelu
    Parts parts;
    RowOutput out;
    int width = 0;
  };
  static constexpr int kThreads = 256;
  static size_t shared_bytes(int width) { return static_cast<size_t>(width + kThreads / kWarp) * 4; }

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const Shared<float> values = block.shared<float>(0, job.width),
                        scratch = block.shared<float>(static_cast<size_t>(job.width) * 4, kThreads / kWarp);
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x();
    block.lanes([&](int lane) {
      for (int k = (block.warp() * kWarp + lane) * 2; k < job.width; k += kThreads * 2) {
        Float2 v;
        if constexpr (kGelu) {
          v = sum_parts<kE4m3>(job.parts, row, k);
          v.x = gelu(v.x), v.y = gelu(v.y);
        } else {
          v = load(as<const Float2>(job.rows), (static_cast<size_t>(row) * job.width + k) / 2);
        }
        values[k] = v.x, values[k + 1] = v.y;
      }
    });
    put_row<kE4m3, kThreads>(block, job.out, row, job.width, values, scratch);
  }

 private:
  static DVLM_DEVICE float gelu(float v) { return 0.5f * v * (1.0f + error_function(v * 0.70710678f)); }
};

// The sum of parts as it is. grid: (rows).
template <bool kPartsE4m3>
struct StoreRows {
  struct Job {
    Parts parts;
    Global<float> out;  // [rows, width of the parts]
  };
  static constexpr int kThreads = 256;

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    block.release_successor();
    block.wait_for_predecessor();
    const int row = block.x(), width = job.parts.width;
    block.lanes([&](int lane) {
      for (int k = (block.warp() * kWarp + lane) * 2; k < width; k += kThreads * 2)
        store(as<Float2>(job.out), (static_cast<size_t>(row) * width + k) / 2,
              sum_parts<kPartsE4m3>(job.parts, row, k));
    });
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

// Rows of the embedding table (A's order), or of features, to the residual stream. grid: (rows).
struct Embed {
  struct Job {
    Global<const uint16_t> table;
    Global<const int> tokens;  // below 0: row -1 - token of the features
    Global<const float> features;
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
              token < 0 ? load(job.features, static_cast<size_t>(-1 - token) * job.width + k)
                        : from_bf16(load(job.table, weight_index(token, k, job.width))));
    });
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
