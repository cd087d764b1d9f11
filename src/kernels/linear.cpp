#include "kernels/linear.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/isa.h"
#include "kernels/linear_tiles.h"
#include "kernels/parallel.h"

namespace dvlm {

namespace {

constexpr size_t kCacheLine = 64;              // bytes
constexpr int kLongestLine = 4 * kInputBlock;  // inputs that a form rounds a row up to, at most

constexpr double kBytesPerNanosecond = 10, kFlopPerNanosecond = 60;  // rough, for one thread

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

int input_blocks_of(int inputs) {
  return ceil_div(inputs, kInputBlock);
}

// Whether inputs are multiplied in parts, whose sums are kept between them.
bool in_parts(int64_t inputs) {
  return inputs > kKc * 3 / 2;
}

// A row with its inputs in the places that they have in the matrix.
const float* in_order(const float* row, std::span<const int32_t> order) {
  thread_local Buffer<float> own;
  if (own.size() < order.size()) own = Buffer<float>(order.size());
  for (size_t k = 0; k < order.size(); ++k) own[k] = row[order[k]];
  return own.data();
}

// Threads share the rows of a row block where no cache line holds inputs of two.
void pack_rows(const LinearJob& job, InputForm form, Rows x, float* inputs, float* scales, ThreadPool& pool) {
  const int words = input_block_words(form), line = words * input_blocks_per_line(form);
  const auto pack = [&](int row) {
    const int row_block = job.row_block_of(row), first = job.first_row(row_block), rows = job.rows(row_block);
    float* out = inputs + static_cast<size_t>(first) * static_cast<size_t>(job.input_blocks * words);
    const PackedInput to{out + (row - first) * line, static_cast<size_t>(rows * line), form,
                         job.input_blocks};
    const std::span<const int32_t> order = job.w->input_order();
    const float* from = order.empty() ? x.row(row) : in_order(x.row(row), order);
    const float scale = pack_inputs(from, job.w->inputs(), job.w->format(), to);
    if (scales) scales[row] = scale;
  };
  const double per_row = 0.2 * job.w->inputs();
  if (line * sizeof(float) % kCacheLine == 0) return split_each(pool, x.count, per_row, pack);
  split_each(pool, job.row_blocks, per_row * job.rows(0), [&](int i) {
    for (int r = 0; r < job.rows(i); ++r) pack(job.first_row(i) + r);
  });
}

// The row blocks of an mc block, from `row_block` on, over inputs [first, last) of one panel that becomes
// floats for all of them. Sums that no other kc block needs are kept for one panel at a time: for all panels
// of a large layer they would take 90 MB.
void run_dequantized(const LinearJob& job, const LinearTiles& tiles, int row_block, int row_blocks, int first,
                     int last, int panel) {
  alignas(64) thread_local float
      weights[(kDequantized + kInputBlock) * kPanel];  // steps may reach beyond the last input
  thread_local Buffer<float> own;
  const auto row = static_cast<size_t>(job.first_row(row_block));
  const size_t floats = static_cast<size_t>(row_blocks * job.rows_per_row_block) * kPanel;
  if (!job.partial && own.size() < floats) own = Buffer<float>(floats);
  const DequantizedPanel dequantized{
      weights,
      job.partial
          ? job.partial + (static_cast<size_t>(panel) * static_cast<size_t>(job.y.count) + row) * kPanel
          : own.data()};
  for (int k = first; k < last; k += kDequantized) {
    for (int i = 0; i < row_blocks; ++i) {
      const RowBlock now{row_block + i, k, std::min(k + kDequantized, last), i, row_blocks};
      tiles.dequantized_by_rows[static_cast<size_t>(job.rows(now.number) - 1)](job, now, panel, dequantized);
    }
  }
}

// Items are (mc block, panel), all panels of the first mc block before those of the next.
void run_items(const LinearJob& job, const LinearTiles& tiles, int64_t begin, int64_t end) {
  const int panels = job.panels.count, inputs = job.w->inputs();
  const bool dequantize = tiles.dequantized_by_rows[0] && job.row_blocks > 1;
  while (begin < end) {
    const int mc_block = static_cast<int>(begin / panels),
              first = job.panels.first + static_cast<int>(begin % panels);
    const int last = static_cast<int>(std::min(int64_t{job.panels.first} + panels, first + (end - begin)));
    const int row_block = mc_block * job.row_blocks_per_mc,
              row_blocks = std::min(job.row_blocks_per_mc, job.row_blocks - row_block);
    const int step = tiles.panels_per_tile(job.rows(row_block));
    for (int k = 0; k < inputs; k += job.kc) {
      const int k_end = std::min(k + job.kc, inputs);
      if (dequantize) {
        for (int panel = first; panel < last; ++panel)
          run_dequantized(job, tiles, row_block, row_blocks, k, k_end, panel);
        continue;
      }
      for (int panel = first; panel < last; panel += step) {
        for (int i = 0; i < row_blocks; ++i) {
          const RowBlock now{row_block + i, k, k_end, i, row_blocks};
          tiles.by_rows[static_cast<size_t>(job.rows(now.number) - 1)](job, now, panel,
                                                                       std::min(panel + step, last));
        }
      }
    }
    begin += last - first;
  }
  if (tiles.release) tiles.release();
}

}  // namespace

size_t LinearScratch::floats(int rows, int inputs) {
  return static_cast<size_t>(rows) * static_cast<size_t>((inputs + kLongestLine - 1) / kLongestLine) *
         kLongestLine;
}

void linear(const PackedMatrix& w, Rows x, Rows y, LinearMode mode, LinearScratch& scratch,
            ThreadPool& pool) {
  linear(w, {0, w.panels()}, x, y, mode, scratch, pool);
}

void linear(const PackedMatrix& w, PanelRange panels, Rows x, Rows y, LinearMode mode, LinearScratch& scratch,
            ThreadPool& pool) {
  DVLM_ASSERT(x.count == y.count && panels.first >= 0 && panels.first + panels.count <= w.panels());
  if (x.count == 0 || panels.count == 0) return;
  const LinearTiles& tiles = *current_isa().linear(w.format());
  const bool scaled = w.scales() != nullptr;
  const size_t needed = LinearScratch::floats(x.count, w.inputs()), rows = static_cast<size_t>(x.count);
  const int row_blocks = ceil_div(x.count, tiles.max_rows), line = input_blocks_per_line(tiles.form);
  if (scratch.inputs.size() < needed) scratch.inputs = Buffer<float>(needed);
  if (scaled && scratch.scales.size() < rows) scratch.scales = Buffer<float>(rows);
  LinearJob job{.w = &w,
                .inputs = scratch.inputs.data(),
                .scales = scratch.scales.data(),
                .panels = panels,
                .partial = nullptr,
                .y = {y.data - static_cast<ptrdiff_t>(panels.first) * kPanel, y.stride, y.count},
                .mode = mode,
                .input_blocks = ceil_div(input_blocks_of(w.inputs()), line) * line,
                .kc = kKc,
                .row_blocks = row_blocks,
                .rows_per_row_block = ceil_div(x.count, row_blocks),
                .full_row_blocks = (x.count - 1) % row_blocks + 1,
                .row_blocks_per_mc = 0};
  // A lone row block reads every weight once: kc blocks would only cost it their partial sums.
  if (row_blocks == 1 || !in_parts(job.input_blocks * kInputBlock)) {
    job.kc = job.input_blocks * kInputBlock;
  } else {
    const size_t sums = rows * kPanel;  // a panel has
    if (scratch.partial.size() < sums * static_cast<size_t>(panels.count))
      scratch.partial = Buffer<float>(sums * static_cast<size_t>(panels.count));
    job.partial = scratch.partial.data() - sums * static_cast<size_t>(panels.first);
  }
  const int64_t row_block_bytes =
      int64_t{4} * job.kc / kInputBlock * input_block_words(tiles.form) * tiles.max_rows;
  job.row_blocks_per_mc = static_cast<int>(std::max<int64_t>(1, kMcBytes / row_block_bytes));
  job.row_blocks_per_mc = ceil_div(row_blocks, job.mc_blocks());  // mc blocks of one size
  pack_rows(job, tiles.form, x, scratch.inputs.data(), scaled ? scratch.scales.data() : nullptr, pool);

  const double panel_flop =
      2.0 * kPanel * w.inputs() * std::min(x.count, job.row_blocks_per_mc * tiles.max_rows);
  const double panel_bytes = static_cast<double>(w.bytes()) / w.panels();
  share(pool, int64_t{job.mc_blocks()} * panels.count, tiles.panels_per_tile(job.rows(0)),
        std::max(panel_bytes / kBytesPerNanosecond, panel_flop / kFlopPerNanosecond),
        [&](int64_t begin, int64_t end) { run_items(job, tiles, begin, end); });
}

size_t most_partial_sums(int64_t rows, int64_t inputs, int64_t outputs) {
  const int64_t lines = (inputs + kLongestLine - 1) / kLongestLine * kLongestLine;
  return in_parts(lines) ? static_cast<size_t>(rows * ((outputs + kPanel - 1) / kPanel * kPanel)) : 0;
}

}  // namespace dvlm
