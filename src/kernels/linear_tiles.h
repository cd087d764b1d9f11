// What linear.cpp and its kernels share: how inputs are packed, the plan of one call, prefetching, and the
// tables of tiles. Not for other rooms.
//
// The loops have the names that BLIS gave them. From outside: mc blocks of rows, whose packed inputs stay in
// L2; panels, split between threads; kc blocks of inputs, of which a panel's part stays in L2 while the mc
// block passes over it; row blocks, whose sums stay in registers (for int4 in L1) while the kc block goes by.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/linear.h"

namespace dvlm {

constexpr int kInputBlock = 16;  // inputs of a row that are packed together: a line of floats

// An input block of a row becomes a few words of 32 bits; some input blocks of a row form a line; and a row
// block has the first line of each of its rows, then their second lines, and so on. Inputs are x0, x1, ...:
//
//   form          a word                            a line of a row, in words
//   floats        | x0 (f32)                      | | 16 |
//   pairs         | x0 (bf16)     | x1 (bf16)     | | 8 |
//   shorts        | x0 (int16)    | x2 (int16)    | | 8: x0 x2, x1 x3, x4 x6, x5 x7, ... |
//   signed_bytes  | x0 | x1 | x2 | x3 (int8)      | | 4 |
//   bytes         | x0+128 | x1+128 | x2+128 | .. | | 4 |
//   summed_bytes  | x0 | x1 | x2 | x3 (int8)      | | 4, sum | 4, sum | 4, sum | 4, sum |
//   tile_pairs    as pairs                          | 8 | 8 |        64 bytes: a row of a tile of AMX
//   tile_bytes    | x0 | x1 | x2 | x3 (int8)      | | 4 | 4 | 4 | 4 |          64 bytes likewise
//
// A sum is minus all inputs of the line so far: times int4's zero points, what they take from the products.
// It fits 16 bits.
enum class InputForm : uint8_t {
  floats,
  pairs,
  shorts,
  signed_bytes,
  bytes,
  summed_bytes,
  tile_pairs,
  tile_bytes
};

constexpr int input_block_words(InputForm form) {
  constexpr int kWords[] = {16, 8, 8, 4, 4, 5, 8, 4};
  return kWords[static_cast<int>(form)];
}
constexpr int input_blocks_per_line(InputForm form) {
  constexpr int kInputBlocks[] = {1, 1, 1, 1, 1, 4, 2, 4};
  return kInputBlocks[static_cast<int>(form)];
}

// Where a row goes: its line l begins at out + l * step floats.
struct PackedInput {
  float* out;
  size_t step;
  InputForm form;
  int input_blocks;  // in whole lines, zero beyond the last input
};

// Rounds a row of inputs [inputs] as the format wants it and stores its input blocks. Returns the factor that
// the row's sums need: 1 for f32 and bf16.
float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedInput& to);

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
  int row_block_of(int row) const {
    const int above = row - full_row_blocks * rows_per_row_block;
    return above < 0 ? row / rows_per_row_block : full_row_blocks + above / (rows_per_row_block - 1);
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

// Asks for weights that will be needed soon; keys and values have KvPrefetcher. A lone row block reads each
// line once, so it looks a little ahead in its own panel into L1, and further ahead into L2 where it
// multiplies for longer than memory needs to bring a line. Several row blocks read a panel from L2 after the
// first, so all of them together fetch the next panel meanwhile.
class Prefetcher {
 public:
  // `rows` are multiplied one by one with weights at `w`; the next ones lie `bytes_to_next` later.
  Prefetcher(const void* w, int rows, int bytes_per_input, size_t bytes_to_next, const RowBlock& row_block) {
    const int readers = row_block.row_blocks_in_mc;
    const size_t all =
        static_cast<size_t>(row_block.last - row_block.first) * static_cast<size_t>(bytes_per_input);
    lines_ = (kInputBlock * bytes_per_input / kLine + readers - 1) / readers;
    to_l1_ = readers == 1;
    to_l2_ = !to_l1_ || rows * kPanel >= kManyProducts * bytes_per_input;
    next_ = static_cast<const char*>(w) +
            (to_l1_ ? kDistance
                    : bytes_to_next + all / static_cast<size_t>(readers) / kLine * kLine *
                                          static_cast<size_t>(row_block.number_in_mc));
  }

  // Asks for the share of one input block.
  void issue() {
    if (to_l1_ && to_l2_) {
      for (int i = 0; i < lines_; ++i, next_ += kLine) {
        __builtin_prefetch(next_);
        __builtin_prefetch(next_ + kFurther, 0, 2);
      }
    } else if (to_l1_) {
      for (int i = 0; i < lines_; ++i, next_ += kLine) __builtin_prefetch(next_);
    } else {
      for (int i = 0; i < lines_; ++i, next_ += kLine) __builtin_prefetch(next_, 0, 2);
    }
  }

 private:
  static constexpr int kLine = 64;
  // The latency of memory at its bandwidth, for one thread: 24 and 80 lines are as good, 128 are worse.
  static constexpr size_t kDistance = 40 * kLine;
  static constexpr size_t kFurther = 60 * kLine;  // from there
  static constexpr int kManyProducts = 8;         // with each byte
  const char* next_;
  int lines_;  // per input block
  bool to_l1_, to_l2_;
};

// The groups of a panel of four-bit weights, one after the other.
struct Int4Groups {
  static constexpr size_t kScales = kPanel * sizeof(f16), kZeroPoints = kPanel / 2;  // bytes of one
  const std::byte *scales, *zero_points;

  Int4Groups(const std::byte* panel, int inputs, int first_input)
      : scales(panel + static_cast<size_t>(first_input / kInt4Group) * kScales),
        zero_points(panel + int4_scale_bytes(inputs) +
                    static_cast<size_t>(first_input / kInt4Group) * kZeroPoints) {}
  void next() { scales += kScales, zero_points += kZeroPoints; }
};

// The place where a row block meets a panel of four-bit weights that are multiplied as integers; inputs are
// summed_bytes.
struct Int4Place {
  static constexpr int kBytesPerInput = kPanel / 2, kInputBlocks = kInt4Group / kInputBlock;
  static constexpr int kWords = input_block_words(InputForm::summed_bytes), kLine = kInputBlocks * kWords;
  static_assert(kInputBlocks == input_blocks_per_line(InputForm::summed_bytes));
  Int4Groups groups;
  const std::byte* weights;  // of the panel
  const int32_t* x;          // [groups of inputs][rows][kLine]

  Int4Place(const LinearJob& job, const RowBlock& row_block, int panel)
      : groups(job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes(), job.w->inputs(),
               row_block.first) {
    const auto row = static_cast<size_t>(job.first_row(row_block.number)),
               rows = static_cast<size_t>(job.rows(row_block.number)),
               first = static_cast<size_t>(row_block.first);
    weights = job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes() +
              int4_head_bytes(job.w->inputs()) + first * kBytesPerInput;
    x = reinterpret_cast<const int32_t*>(job.inputs) + row * static_cast<size_t>(job.input_blocks * kWords) +
        first / kInt4Group * rows * kLine;
  }
  void next_group(int rows) {
    groups.next();
    weights += kInt4Group * kBytesPerInput;
    x += rows * kLine;
  }
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
  void (*release)() = nullptr;  // what a thread still holds after its last call; or null
};
using TilesByFormat = std::array<const LinearTiles*, kWeightFormats>;  // in the order of WeightFormat

// The table of tiles that take one panel: Tile::run<R>(job, row block, panel) multiplies it with R rows, at
// most kMaxRows, whose inputs have the form kForm.
template <class Tile, int R>
void panel_by_panel(const LinearJob& job, const RowBlock& row_block, int panel, int end) {
  for (; panel < end; ++panel) Tile::template run<R>(job, row_block, panel);
}
template <class Tile>
const LinearTiles* panel_tiles() {
  static constexpr LinearTiles kTiles = []<int... R>(std::integer_sequence<int, R...>) {
    return LinearTiles{{panel_by_panel<Tile, R + 1>...}, [](int) { return 1; }, Tile::kMaxRows, Tile::kForm};
  }
  (std::make_integer_sequence<int, Tile::kMaxRows>());
  return &kTiles;
}

// Tiles of every set, and what its Isa::multiply runs: f32 multiply-adds of Highway's set in use, NEON's dot
// and matrix products of bytes, x86's dot products of bytes (256 bits: Alder Lake; AVX-512: Cascade Lake),
// AVX-512's of bf16 and of bytes (Zen 4, Sapphire Rapids), AMX (Sapphire Rapids). All take any format.
const LinearTiles* highway_tiles(WeightFormat format);
const LinearTiles* neon_dot_tiles(WeightFormat format);
const LinearTiles* neon_i8mm_tiles(WeightFormat format);
const LinearTiles* avx2_vnni_tiles(WeightFormat format);
const LinearTiles* avx512_vnni_tiles(WeightFormat format);
const LinearTiles* avx512_bf16_tiles(WeightFormat format);
const LinearTiles* amx_tiles(WeightFormat format);
const LinearTiles* emulated_amx_tiles(WeightFormat format);
double highway_multiply(int64_t rounds);
double avx512_bf16_multiply(int64_t rounds);
double amx_multiply(int64_t rounds);

// What highway_tiles gives for weights of eight and four bits, and that for four on AVX2 and AVX3: products
// of bytes.
const LinearTiles* integer_tiles(WeightFormat format);
const LinearTiles* avx2_int4_tiles();

}  // namespace dvlm
