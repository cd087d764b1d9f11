// What linear.cpp and its kernels share: the plan of one call and the tables of tiles. Not for other rooms.
//
// The loops have the names that BLIS gave them. From outside: mc blocks of rows, whose packed inputs stay in
// L2; panels, split between threads; kc blocks of inputs, of which a panel's part stays in L2 while the mc
// block passes over it; row blocks, whose sums stay in registers (for int4 in L1) while the kc block goes by.
#pragma once
#include <array>

#include "kernels/linear.h"
#include "kernels/linear_inputs.h"

namespace dvlm {

// Why these sizes. A panel's 32 outputs (matrix.h) are two vectors of AVX-512 or two tiles of AMX, so that
// every broadcast input meets two vectors, and one input of a bf16 panel fills a cache line.
constexpr int kMaxRowBlock = 32;   // two AMX tiles of 16 rows; other sets have fewer, by their registers
constexpr int kKc = 2048;          // inputs: of a panel 32 (int4) to 256 KiB (f32), a part of L2
constexpr int kMcBytes = 1 << 20;  // packed inputs of an mc block within one kc block: at most an L2
constexpr int kDequantized = 256;  // inputs of a panel that are kept as floats: 32 KiB, an L1

// Everything that one call tells its threads.
struct LinearJob {
  const PackedMatrix* w;
  const float* inputs;  // [row blocks][lines][rows of the row block][a line as InputForm says], zero-padded
  const float* scales;  // [rows], where the format rounds inputs
  PanelRange panels;
  // Panel p's sums and outputs stand where they would if all panels had some: a range's pointers are moved.
  float* partial;  // [panels][rows][32] sums between kc blocks, when there are several
  Rows y;
  LinearMode mode;
  int input_blocks;  // in whole lines, the last may be partial
  int kc;            // inputs of a kc block
  int row_blocks;
  int rows_per_row_block;  // in the first full_row_blocks; the others have one fewer
  int full_row_blocks;
  int row_blocks_per_mc;
  int first_row(int row_block) const {
    return row_block * rows_per_row_block - std::max(0, row_block - full_row_blocks);
  }
  int rows(int row_block) const { return rows_per_row_block - (row_block >= full_row_blocks); }
  int mc_blocks() const { return (row_blocks + row_blocks_per_mc - 1) / row_blocks_per_mc; }
};

// What a kernel multiplies in one call, beside its panels: a row block and inputs [first, last) of a kc
// block, last a multiple of kInputBlock or all.
struct RowBlock {
  int number, first, last;
  int number_in_mc, row_blocks_in_mc;
};

// The sums of a row block between kc blocks: [rows][32] for each panel from `first_panel` on.
class PartialSums {
 public:
  PartialSums(const LinearJob& job, const RowBlock& row_block, int first_panel)
      : begins_(row_block.first == 0),
        ends_(row_block.last == job.w->inputs()),
        floats_(job.rows(row_block.number) * kPanel),
        panel_(static_cast<ptrdiff_t>(job.y.count) * kPanel),
        first_(first_panel * panel_ + static_cast<ptrdiff_t>(job.first_row(row_block.number)) * kPanel),
        sums_(job.partial) {}
  float* of(int p) const { return sums_ + (first_ + p * panel_); }

  // For kernels with sums in memory, [rows][32] of panel p: zero in the first kc block.
  void load(int p, float* sums) const {
    if (begins_)
      std::fill_n(sums, floats_, 0.0f);
    else
      std::copy_n(of(p), floats_, sums);
  }
  // False in the last kc block, when the sums are complete.
  bool store(int p, const float* sums) const {
    if (!ends_) std::copy_n(sums, floats_, of(p));
    return !ends_;
  }

 private:
  bool begins_, ends_;
  int floats_;
  ptrdiff_t panel_, first_;
  float* sums_;
};

// A panel as floats, for all row blocks of an mc block.
struct DequantizedPanel {
  float* weights;  // [inputs][32]
  float* sums;     // [rows of the mc block][32]: partial ones
};

// The tiles of one instruction set and one weight format.
struct LinearTiles {
  using SomePanels = void (*)(const LinearJob&, const RowBlock&, int panel, int end);
  std::array<SomePanels, kMaxRowBlock> by_rows;  // [rows - 1]; null above max_rows
  int (*panels_per_tile)(int rows);              // that one tile takes side by side
  int max_rows;                                  // of a row block
  InputForm form;
  // Or null: where several row blocks read a panel, the first one's call for kDequantized inputs keeps the
  // panel as floats, which the calls of the others multiply.
  using Dequantized = void (*)(const LinearJob&, const RowBlock&, int panel, const DequantizedPanel&);
  std::array<Dequantized, kMaxRowBlock> dequantized_by_rows = {};
};
using TilesByFormat = std::array<const LinearTiles*, kWeightFormats>;  // in the order of WeightFormat

// Tiles of every set, and what its Isa::multiply runs: f32 multiply-adds of Highway's set in use, AVX-512's
// dot products of bf16 and of bytes (Zen 4, Sapphire Rapids), AMX (Sapphire Rapids). All take any format.
const LinearTiles* highway_tiles(WeightFormat format);
const LinearTiles* avx512_bf16_tiles(WeightFormat format);
const LinearTiles* amx_tiles(WeightFormat format);
const LinearTiles* emulated_amx_tiles(WeightFormat format);
double highway_multiply(int64_t rounds);
double avx512_bf16_multiply(int64_t rounds);
double amx_multiply(int64_t rounds);

// What highway_tiles gives for four-bit weights on AVX2 and AVX3: products of bytes.
const LinearTiles* avx2_int4_tiles();

}  // namespace dvlm
