// Linear layers. The value of an output is the sum of P parts of its inputs, in their order; each part is
// accumulated by mma in ascending order of inputs. P belongs to the layer, not to the rows of a pass, and
// each kernel here adds in that order: a row's bits do not depend on the rows beside it, nor on the kernel
// that its pass took.
#pragma once
#include "cuda/fragments.h"

namespace dvlm::cuda {
inline namespace DVLM_LAYER {

enum class Epilogue {
  store,   // out[split][row][output], not scaled
  swiglu,  // a tile's outputs m and m + 8 are gate and up of one value: bf16 inputs of the next layer
};

struct LinearJob {
  Global<const Word4> weights;       // A: tiles along inputs, then along outputs
  Global<const Word4> inputs;        // B: bf16, or halves that hold e4m3 values
  Global<const float> weight_scale;  // [outputs], e4m3 with swiglu only
  Global<const float> row_scale;     // [rows], likewise
  Global<const float> bias;          // [outputs], swiglu only; may be empty
  Global<float> out;                 // store: [splits][rows][outputs]
  Global<uint16_t> activated;        // swiglu: B of outputs / 2 inputs; e4m3: [rows][outputs / 2]
  int outputs = 0;                   // a multiple of 16
  int tiles = 0;                     // of A along inputs
  int row_tiles = 0;                 // of B; rows = 8 row_tiles
  int splits = 1;                    // of the inputs over the grid
};

struct Bf16Weights {
  static constexpr int kPanels = 1;  // tiles of B per tile of A
  static constexpr bool kScaled = false;
};
struct E4m3Weights {
  static constexpr int kPanels = 2;
  static constexpr bool kScaled = true;
};

// Weights of a tile as A's fragment for 16 inputs: the panel-th of the tile.
template <class Weights>
DVLM_DEVICE Word4 fragment(const Word4& a, int panel) {
  if constexpr (Weights::kScaled) {
    const int shift = panel * 16;
    const auto widen = [&](uint32_t word) {
      return widen_e4m3(static_cast<uint16_t>(word >> shift & 0xffffu));
    };
    return {widen(a.x), widen(a.y), widen(a.z), widen(a.w)};
  } else {
    return a;
  }
}
template <class Weights>
DVLM_DEVICE void multiply(Lanes<Float4>& c, const Lanes<Word4>& a, const Lanes<Word2>& b) {
  if constexpr (Weights::kScaled)
    mma_f16(c, a, b);
  else
    mma_bf16(c, a, b);
}

// What a warp does with the finished sums of a tile of 16 outputs and a tile of 8 rows.
template <class Weights, Epilogue kEpilogue>
DVLM_DEVICE void finish(const Block& block, const LinearJob& job, int split, int tile, int row_tile,
                        const Lanes<Float4>& c) {
  block.lanes([&](int lane) {
    const int m = tile * 16 + lane / 4, first_row = row_tile * 8 + lane % 4 * 2;
    for (int j = 0; j < 2; ++j) {
      const int row = first_row + j;
      if constexpr (kEpilogue == Epilogue::store) {
        const size_t at = (static_cast<size_t>(split) * job.row_tiles * 8 + row) * job.outputs + m;
        store(job.out, at, c[lane].v[j]);
        store(job.out, at + 8, c[lane].v[2 + j]);
      } else {
        float gate = c[lane].v[j], up = c[lane].v[2 + j];
        const int value = tile * 8 + lane / 4;
        if constexpr (Weights::kScaled) {
          const float row_scale = load(job.row_scale, row);
          gate *= load(job.weight_scale, m) * row_scale, up *= load(job.weight_scale, m + 8) * row_scale;
        }
        if (job.bias.data) gate += load(job.bias, m), up += load(job.bias, m + 8);
        const uint16_t activated = bf16_bits(gate / (1 + exp2_fast(-1.44269504f * gate)) * up);
        store(job.activated,
              Weights::kScaled ? static_cast<size_t>(row) * (job.outputs / 2) + value
                               : input_index(value, row, job.row_tiles),
              activated);
      }
    }
  });
}

// Up to 32 rows: weights stream past inputs that stay in shared memory. Persistent blocks; grid: (blocks,
// splits). kRowTiles: tiles of 8 rows. kSlices: warps of a block that share a tile of outputs, each with its
// part of the inputs. kDepth: tiles of a warp in flight. P = splits or kSlices; one of them is 1.
template <class Weights, Epilogue kEpilogue, int kRowTiles, int kSlices, int kDepth>
struct StreamLinear {
  using Job = LinearJob;
  static constexpr int kThreads = 256, kWarps = kThreads / kWarp, kTiles = kWarps / kSlices;

  static size_t shared_bytes(int tiles, int splits) {
    return static_cast<size_t>(16) *
           (kDepth * kThreads + tiles / splits * Weights::kPanels * kRowTiles * kPanelWords +
            (kSlices > 1 ? kWarps * kRowTiles * kWarp : 0));
  }

  static DVLM_DEVICE void run(Block& block, const Job& job) {
    const int warp = block.warp(), tile_in_group = warp / kSlices, slice = warp % kSlices;
    const int block_tiles = job.tiles / job.splits, warp_tiles = block_tiles / kSlices, split = block.y();
    const int first_tile = split * block_tiles + slice * warp_tiles;
    const int groups = job.outputs / 16 / kTiles;
    const int my_groups = (groups - block.x() + block.blocks_x() - 1) / block.blocks_x();
    const int all = my_groups * warp_tiles;
    block.release_successor();
    const Shared<Word4> fifo = block.shared<Word4>(0, kDepth * kThreads);
    const int inputs = block_tiles * Weights::kPanels * kRowTiles * kPanelWords;
    int next = 0, next_in_group = 0, next_slot = 0;
    size_t source =
        ((static_cast<size_t>(block.x()) * kTiles + tile_in_group) * job.tiles + first_tile) * kTileWords;
    const size_t group_stride =
        (static_cast<size_t>(block.blocks_x()) * kTiles * job.tiles - warp_tiles) * kTileWords;
    const auto fetch = [&] {
      if (next < all) {
        block.lanes([&](int lane) {
          block.copy_async(fifo, (next_slot * kWarps + warp) * kWarp + lane, job.weights, source + lane);
        });
        source += kTileWords;
        ++next;
        if (++next_in_group == warp_tiles) next_in_group = 0, source += group_stride;
      }
      next_slot = next_slot + 1 == kDepth ? 0 : next_slot + 1;
      block.commit_copies();
    };
    for (int i = 0; i < kDepth; ++i) fetch();

    const Shared<Word2> panels = load_inputs(block, job, inputs);
    int slot = 0;
    for (int g = 0; g < my_groups; ++g) {
      Lanes<Float4> c[kRowTiles];
      zero(block, c);
      int panel = slice * warp_tiles * Weights::kPanels * kRowTiles * kWarp;
      for (int t = 0; t < warp_tiles; ++t) {
        block.template wait_copies<kDepth - 1>();
        Lanes<Word4> tile;
        block.lanes([&](int lane) { tile[lane] = fifo[(slot * kWarps + warp) * kWarp + lane]; });
        slot = slot + 1 == kDepth ? 0 : slot + 1;
        multiply_tile(block, tile, panels, panel, c);
        panel += Weights::kPanels * kRowTiles * kWarp;
        fetch();
      }
      if constexpr (kSlices > 1) add_slices(block, inputs, g > 0, c);
      if (slice == 0)
        for (int n = 0; n < kRowTiles; ++n)
          finish<Weights, kEpilogue>(block, job, split,
                                     (block.x() + g * block.blocks_x()) * kTiles + tile_in_group, n, c[n]);
    }
  }

 private:
  // The block's share of the inputs, behind the weights in flight.
  static DVLM_DEVICE Shared<Word2> load_inputs(Block& block, const Job& job, int words) {
    const size_t first_byte = static_cast<size_t>(kDepth) * kThreads * 16;
    const Shared<Word4> x = block.shared<Word4>(first_byte, words);
    block.wait_for_predecessor();
    block.lanes([&](int lane) {
      for (int i = block.warp() * kWarp + lane; i < words; i += kThreads)
        x[i] = load(job.inputs, static_cast<size_t>(block.y()) * words + i);
    });
    block.sync();
    return block.shared<Word2>(first_byte, static_cast<size_t>(words) * 2);
  }
  // c += a tile of weights times its panels, the first of which begins at `panel`.
  static DVLM_DEVICE void multiply_tile(const Block& block, const Lanes<Word4>& tile, Shared<Word2> panels,
                                        int panel, Lanes<Float4> (&c)[kRowTiles]) {
    DVLM_UNROLL
    for (int p = 0; p < Weights::kPanels; ++p) {
      Lanes<Word4> a;
      block.lanes([&](int lane) { a[lane] = fragment<Weights>(tile[lane], p); });
      DVLM_UNROLL
      for (int n = 0; n < kRowTiles; ++n) {
        Lanes<Word2> b;
        block.lanes([&](int lane) { b[lane] = panels[panel + (p * kRowTiles + n) * kWarp + lane]; });
        multiply<Weights>(c[n], a, b);
      }
    }
  }
  static DVLM_DEVICE void zero(const Block& block, Lanes<Float4> (&c)[kRowTiles]) {
    DVLM_UNROLL
    for (int n = 0; n < kRowTiles; ++n) block.lanes([&](int lane) { c[n][lane] = {}; });
  }
  // The first warp of a tile adds the others' parts, in their order.
  static DVLM_DEVICE void add_slices(Block& block, int inputs, bool again, Lanes<Float4> (&c)[kRowTiles]) {
    const int warp = block.warp(), slice = warp % kSlices;
    const Shared<float> sums = block.shared<float>(static_cast<size_t>(kDepth * kThreads + inputs) * 16,
                                                   static_cast<size_t>(kWarps) * kRowTiles * kWarp * 4);
    const auto at = [&](int of, int n, int i, int lane) {
      return ((of * kRowTiles + n) * 4 + i) * kWarp + lane;
    };
    if (again) block.sync();
    if (slice > 0) {
      block.lanes([&](int lane) {
        for (int n = 0; n < kRowTiles; ++n)
          for (int i = 0; i < 4; ++i) sums[at(warp, n, i, lane)] = c[n][lane].v[i];
      });
    }
    block.sync();
    if (slice == 0) {
      block.lanes([&](int lane) {
        for (int k = 1; k < kSlices; ++k)
          for (int n = 0; n < kRowTiles; ++n)
            for (int i = 0; i < 4; ++i) c[n][lane].v[i] += sums[at(warp + k, n, i, lane)];
      });
    }
  }
};

}  // namespace DVLM_LAYER
}  // namespace dvlm::cuda
