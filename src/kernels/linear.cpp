#include "kernels/linear.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/isa.h"
#include "kernels/linear_job.h"
#include "kernels/parallel.h"

namespace dvlm {

namespace {

constexpr double kBytesPerNanosecond = 10, kFlopPerNanosecond = 60;  // rough, for one thread
constexpr int64_t kInputsInL2 = int64_t{1} << 20;                    // bytes
constexpr int kSliceBlocks = 128;  // of inputs: a slice of a panel takes 64 to 256 KiB of L2

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

int blocks_of(int inputs) {
  return ceil_div(inputs, kBlock);
}

int whole_lines(int blocks, InputForm form) {
  const int line = blocks_per_line(form);
  return ceil_div(blocks, line) * line;
}

void pack_rows(const LinearJob& job, InputForm form, Rows x, float* inputs, float* scales, ThreadPool& pool) {
  constexpr float kZeros[kBlock] = {};
  const int n = job.w->inputs(), block = words_per_block(form), line = block * blocks_per_line(form);
  split(pool, job.groups, 0.2 * n * job.rows(0), [&](int64_t begin, int64_t end) {
    for (int g = static_cast<int>(begin); g < end; ++g) {
      const int first = job.first_row(g), rows = job.rows(g);
      float* out = inputs + static_cast<size_t>(first) * static_cast<size_t>(job.blocks * block);
      for (int r = 0; r < rows; ++r) {
        const PackedRow to{out + r * line, static_cast<size_t>(rows * line), form};
        const float scale = pack_inputs(x.row(first + r), n, job.w->format(), to);
        for (int b = blocks_of(n); b < job.blocks; ++b) to.store(b, kZeros);
        if (scales) scales[first + r] = scale;
      }
    }
  });
}

bool widens(const LinearJob& job, const LinearTiles& tiles) {
  return tiles.widened_by_rows[0] && job.groups > 1;
}

// A pass's groups over inputs [first, last) of one panel that is widened for all of them. Sums that no other
// slice needs are kept for one panel at a time: for all panels of a large layer they would take 90 MB.
void run_widened(const LinearJob& job, const LinearTiles& tiles, int group, int groups, int first, int last,
                 int panel) {
  alignas(64) thread_local float
      weights[(kWidened + kInt4Group) * kPanel];  // steps may reach beyond the last input
  thread_local Buffer<float> own;
  const auto row = static_cast<size_t>(job.first_row(group));
  const size_t floats = static_cast<size_t>(groups * job.rows_per_group) * kPanel;
  if (!job.partial && own.size() < floats) own = Buffer<float>(floats);
  const WidenedPanel widened{
      weights,
      job.partial
          ? job.partial + (static_cast<size_t>(panel) * static_cast<size_t>(job.y.count) + row) * kPanel
          : own.data()};
  for (int k = first; k < last; k += kWidened) {
    const int end = std::min(k + kWidened, last);
    for (int g = 0; g < groups; ++g) {
      const LinearVisit visit{group + g, k, end, g, groups};
      tiles.widened_by_rows[static_cast<size_t>(job.rows(visit.group) - 1)](job, visit, panel, widened);
    }
  }
}

// Items are (pass over rows, panel), pass-major.
void run_items(const LinearJob& job, const LinearTiles& tiles, int64_t begin, int64_t end) {
  const int panels = job.panels.count, inputs = job.w->inputs(), slice = job.blocks_per_slice * kBlock;
  while (begin < end) {
    const int pass = static_cast<int>(begin / panels),
              first = job.panels.first + static_cast<int>(begin % panels);
    const int last = static_cast<int>(std::min(int64_t{job.panels.first} + panels, first + (end - begin)));
    const int group = pass * job.groups_per_pass, groups = std::min(job.groups_per_pass, job.groups - group);
    const int step = tiles.panels_per_tile(job.rows(group));
    for (int k = 0; k < inputs; k += slice) {
      if (widens(job, tiles)) {
        for (int panel = first; panel < last; ++panel)
          run_widened(job, tiles, group, groups, k, std::min(k + slice, inputs), panel);
        continue;
      }
      for (int panel = first; panel < last; panel += step) {
        for (int g = 0; g < groups; ++g) {
          const LinearVisit visit{group + g, k, std::min(k + slice, inputs), g, groups};
          tiles.by_rows[static_cast<size_t>(job.rows(visit.group) - 1)](job, visit, panel,
                                                                        std::min(panel + step, last));
        }
      }
    }
    begin += last - first;
  }
}

}  // namespace

size_t LinearScratch::floats(int rows, int inputs) {
  constexpr int kLongestLine = 4 * kBlock;
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
  const int groups = ceil_div(x.count, tiles.max_rows);
  if (scratch.inputs.size() < needed) scratch.inputs = Buffer<float>(needed);
  if (scaled && scratch.scales.size() < rows) scratch.scales = Buffer<float>(rows);
  LinearJob job{.w = &w,
                .inputs = scratch.inputs.data(),
                .scales = scratch.scales.data(),
                .panels = panels,
                .partial = nullptr,
                .y = {y.data - static_cast<ptrdiff_t>(panels.first) * kPanel, y.stride, y.count},
                .mode = mode,
                .blocks = whole_lines(blocks_of(w.inputs()), tiles.form),
                .blocks_per_slice = 0,
                .groups = groups,
                .rows_per_group = ceil_div(x.count, groups),
                .full_groups = (x.count - 1) % groups + 1,
                .groups_per_pass = 0};
  // A lone group reads every weight once: slices would only cost it their partial sums.
  job.blocks_per_slice = job.groups == 1 || job.blocks <= kSliceBlocks * 3 / 2 ? job.blocks : kSliceBlocks;
  if (job.blocks_per_slice < job.blocks) {
    const size_t sums = rows * kPanel;  // of a panel
    if (scratch.partial.size() < sums * static_cast<size_t>(panels.count))
      scratch.partial = Buffer<float>(sums * static_cast<size_t>(panels.count));
    job.partial = scratch.partial.data() - sums * static_cast<size_t>(panels.first);
  }
  const int64_t group_bytes =
      int64_t{4} * job.blocks_per_slice * words_per_block(tiles.form) * tiles.max_rows;
  job.groups_per_pass = static_cast<int>(std::max<int64_t>(1, kInputsInL2 / group_bytes));
  job.groups_per_pass = ceil_div(job.groups, job.passes());  // passes of one size
  pack_rows(job, tiles.form, x, scratch.inputs.data(), scaled ? scratch.scales.data() : nullptr, pool);

  const double panel_flop =
      2.0 * kPanel * w.inputs() * std::min(x.count, job.groups_per_pass * tiles.max_rows);
  const double panel_bytes = static_cast<double>(w.bytes()) / w.panels();
  split(pool, int64_t{job.passes()} * panels.count,
        std::max(panel_bytes / kBytesPerNanosecond, panel_flop / kFlopPerNanosecond),
        [&](int64_t begin, int64_t end) { run_items(job, tiles, begin, end); });
}

}  // namespace dvlm
