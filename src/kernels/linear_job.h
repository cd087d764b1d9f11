// What linear.cpp and its kernels share. Not for other rooms.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/linear.h"

namespace dvlm {

constexpr int kBlock = 16;     // inputs that are packed together
constexpr int kMaxGroup = 32;  // rows that share one reading of a panel
constexpr int kWidened = 256;  // inputs of a panel that are widened at a time: 32 KiB of floats

// A block of 16 inputs of a row.
enum class InputForm : uint8_t {
  floats,        // 16
  pairs,         // 8 words of two bf16
  bytes,         // 4 words of four bytes that are 128 too large
  summed_bytes,  // 4 words of four signed bytes, then their sum times -8 with that of the blocks before in
                 // the same line; four blocks of a row stand together
  tile_pairs,    // as pairs; two blocks of a row, a row of a tile, stand together
  tile_bytes,    // 4 words of four signed bytes; likewise four blocks
};
constexpr int words_per_block(InputForm form) {
  constexpr int kWords[] = {16, 8, 4, 5, 8, 4};
  return kWords[static_cast<int>(form)];
}
constexpr int blocks_per_line(InputForm form) {  // blocks of a row that stand together
  return form == InputForm::tile_pairs                                      ? 2
         : form == InputForm::tile_bytes || form == InputForm::summed_bytes ? 4
                                                                            : 1;
}

// Everything that one call tells its threads.
struct LinearJob {
  const PackedMatrix* w;
  const float* inputs;  // [groups][lines of blocks][rows of the group][a line as InputForm says], zero-padded
  const float* scales;  // [rows], where the format rounds inputs
  PanelRange panels;
  // Panel p's sums and outputs stand where they would if all panels had some: a range's pointers are moved.
  float* partial;  // [panels][rows][32] sums between slices, when there are several
  Rows y;
  LinearMode mode;
  int blocks;            // of inputs, the last may be partial; whole lines
  int blocks_per_slice;  // blocks that all groups of a pass work through before the next: their inputs stay
                         // in L2
  int groups;            // of rows
  int rows_per_group;    // of the first full_groups; the others have one fewer
  int full_groups;
  int groups_per_pass;
  int first_row(int group) const { return group * rows_per_group - std::max(0, group - full_groups); }
  int rows(int group) const { return rows_per_group - (group >= full_groups); }
  int passes() const { return (groups + groups_per_pass - 1) / groups_per_pass; }
};

// Where a row goes: line l of its blocks begins at out + l * step floats, zero beyond the last input.
struct PackedRow {
  float* out;
  size_t step;
  InputForm form;

  void store(int block, const float* values) const {
    const int blocks = blocks_per_line(form);
    float* to = out + static_cast<size_t>(block / blocks) * step + block % blocks * words_per_block(form);
    switch (form) {
      case InputForm::floats:
        std::copy_n(values, kBlock, to);
        return;
      case InputForm::pairs:
      case InputForm::tile_pairs:
        return store_pairs(values, to);
      case InputForm::bytes:
      case InputForm::summed_bytes:
      case InputForm::tile_bytes:
        return store_bytes(values, block % blocks == 0, to);
    }
  }

 private:
  static void store_pairs(const float* values, float* to) {
    uint32_t bits[kBlock], words[kBlock / 2];
    std::memcpy(bits, values, sizeof bits);
    for (int i = 0; i < kBlock / 2; ++i) words[i] = (bits[2 * i] >> 16) | (bits[2 * i + 1] & 0xFFFF0000u);
    std::memcpy(to, words, sizeof words);
  }
  void store_bytes(const float* values, bool first_of_line, float* to) const {
    const int excess = form == InputForm::bytes ? 128 : 0;
    uint8_t bytes[kBlock];
    int sum = 0;
    for (int i = 0; i < kBlock; ++i) {
      const int value = static_cast<int>(values[i]);
      bytes[i] = static_cast<uint8_t>(value + excess);
      sum -= 8 * value;
    }
    std::memcpy(to, bytes, sizeof bytes);
    if (form != InputForm::summed_bytes) return;
    int before = 0;
    if (!first_of_line) std::memcpy(&before, to - 1, sizeof before);
    sum += before;
    std::memcpy(to + 4, &sum, sizeof sum);
  }
};

// One visit of a group of rows to some panels: inputs [first, last), last a multiple of kBlock or all.
struct LinearVisit {
  int group, first, last;
  int group_of_pass, groups_of_pass;
};

// Where a visit to a panel of four-bit weights begins; inputs are summed_bytes.
struct Int4Visit {
  static constexpr int kBytesPerInput = kPanel / 2, kBlocks = kInt4Group / kBlock;
  static constexpr int kWords = words_per_block(InputForm::summed_bytes), kLine = kBlocks * kWords;
  static_assert(kBlocks == blocks_per_line(InputForm::summed_bytes));
  const std::byte *weights, *scales;  // of the panel
  const int32_t* x;                   // [groups of inputs][rows][kLine]
  float* partial;                     // [rows][32], of the next panel y.count * 32 floats later; or null

  Int4Visit(const LinearJob& job, const LinearVisit& visit, int panel) {
    const auto row = static_cast<size_t>(job.first_row(visit.group)),
               rows = static_cast<size_t>(job.rows(visit.group));
    const auto group = static_cast<size_t>(visit.first / kInt4Group);
    const std::byte* begin = job.w->data() + static_cast<size_t>(panel) * job.w->panel_bytes();
    scales = begin + group * kPanel * sizeof(bf16);
    weights = begin + static_cast<size_t>(int4_groups(job.w->inputs())) * kPanel * sizeof(bf16) +
              static_cast<size_t>(visit.first) * kBytesPerInput;
    x = reinterpret_cast<const int32_t*>(job.inputs) + row * static_cast<size_t>(job.blocks * kWords) +
        group * rows * kLine;
    const size_t sums = (static_cast<size_t>(panel) * static_cast<size_t>(job.y.count) + row) * kPanel;
    partial = job.partial ? job.partial + sums : nullptr;
  }
};

// A panel for several groups.
struct WidenedPanel {
  float* weights;  // [inputs of the visit][32]
  float* sums;     // [rows of the pass][32]: partial ones
};

// The tiles of one instruction set and one weight format.
struct LinearTiles {
  using SomePanels = void (*)(const LinearJob&, const LinearVisit&, int panel, int end);
  std::array<SomePanels, kMaxGroup> by_rows;  // [rows - 1]; null above max_rows
  int (*panels_per_tile)(int rows);           // that one tile takes side by side
  int max_rows;                               // of a group
  InputForm form;
  // Or null: where several groups read a panel, the first's visit to kWidened inputs keeps them widened to
  // floats, which the visits of the others multiply.
  using Widened = void (*)(const LinearJob&, const LinearVisit&, int panel, const WidenedPanel&);
  std::array<Widened, kMaxGroup> widened_by_rows = {};
};

// Asks for weights that will be needed soon. A lone group reads each line once, so it looks a little ahead in
// its own panel, and further ahead into L2 where it multiplies for longer than memory needs to bring a line;
// several groups read a panel from L2 after the first, so all of them together fetch the next panel
// meanwhile.
struct Ahead {
  static constexpr int kLine = 64;
  static constexpr size_t kDistance = 40 * kLine;  // the latency of memory at its bandwidth, for one thread
  static constexpr size_t kFurther = 60 * kLine;   // from there
  static constexpr int kManyProducts = 8;          // with each byte
  const char* next;
  int lines;  // per block of inputs
  bool near, further;

  // `rows` are multiplied one by one with weights at `w`; the next ones lie `bytes_to_next` later.
  Ahead(const void* w, int rows, int bytes_per_input, size_t bytes_to_next, const LinearVisit& visit) {
    const int groups = visit.groups_of_pass, per_block = kBlock * bytes_per_input / kLine;
    const size_t all = static_cast<size_t>(visit.last - visit.first) * static_cast<size_t>(bytes_per_input);
    lines = (per_block + groups - 1) / groups;
    near = groups == 1;
    further = near && rows * kPanel >= kManyProducts * bytes_per_input;
    next = static_cast<const char*>(w) +
           (groups == 1 ? kDistance
                        : bytes_to_next + all / static_cast<size_t>(groups) / kLine * kLine *
                                              static_cast<size_t>(visit.group_of_pass));
  }
  void fetch() {
    if (further) {
      for (int i = 0; i < lines; ++i, next += kLine) {
        __builtin_prefetch(next);
        __builtin_prefetch(next + kFurther, 0, 2);
      }
    } else if (near) {
      for (int i = 0; i < lines; ++i, next += kLine) __builtin_prefetch(next);
    } else {
      for (int i = 0; i < lines; ++i, next += kLine) __builtin_prefetch(next, 0, 2);
    }
  }
};

// Rounds a row of inputs [inputs] as the format wants it and stores its blocks. Returns the factor that the
// row's sums need: 1 for f32 and bf16.
float pack_inputs(const float* row, int inputs, WeightFormat format, const PackedRow& to);

#if defined(__x86_64__)
// What highway_tiles gives for four-bit weights on AVX2 and AVX3: products of bytes.
const LinearTiles* avx2_int4_tiles();
#endif

// Tiles of every set, and what its Isa::multiply runs: f32 multiply-adds of Highway's set in use, AVX-512's
// dot products of bf16 and of bytes (Zen 4, Sapphire Rapids), AMX (Sapphire Rapids). All take any format.
const LinearTiles* highway_tiles(WeightFormat format);
const LinearTiles* avx512_bf16_tiles(WeightFormat format);
const LinearTiles* amx_tiles(WeightFormat format);
const LinearTiles* emulated_amx_tiles(WeightFormat format);
double highway_multiply(int64_t rounds);
double avx512_bf16_multiply(int64_t rounds);
double amx_multiply(int64_t rounds);

}  // namespace dvlm
