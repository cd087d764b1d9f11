#include <algorithm>

#include "core/error.h"
#include "model/model.h"

namespace dvlm {
namespace {

constexpr int64_t kMaxPatches = int64_t{1} << 28;  // of all grids: bounds what is allocated here

// Patches of the grid; throws unless it splits into merge blocks and stays below kMaxPatches.
int64_t checked_patches(const Grid& grid, int merge) {
  if (grid.t < 1 || grid.h < 1 || grid.w < 1 || grid.h % merge != 0 || grid.w % merge != 0)
    fail(
        "a grid of {}x{}x{} patches has no windows: expected positive sides, height and width multiples of "
        "{}",
        grid.t, grid.h, grid.w, merge);
  const int64_t area = int64_t{grid.h} * grid.w;
  if (area > kMaxPatches || grid.t > kMaxPatches / area)
    fail("a grid of {}x{}x{} patches is larger than the {} that are supported", grid.t, grid.h, grid.w,
         kMaxPatches);
  return area * grid.t;
}

// Appends the windows of one temporal slice of `height` x `width` merged tokens, the first of them `first`.
void append_slice(WindowIndex& result, int first, int height, int width, int side, int patches_per_token) {
  for (int top = 0; top < height; top += side) {
    for (int left = 0; left < width; left += side) {
      const int rows = std::min(side, height - top), columns = std::min(side, width - left);
      for (int y = top; y < top + rows; ++y)
        for (int x = left; x < left + columns; ++x) result.index.push_back(first + y * width + x);
      result.cumulative.push_back(result.cumulative.back() + rows * columns * patches_per_token);
    }
  }
}

}  // namespace

WindowIndex window_index(std::span<const Grid> grids, const VisionConfig& config) {
  const int merge = config.spatial_merge_size;
  if (merge < 1 || config.patch_size < 1 || config.merged_tokens_per_window_side() < 1)
    fail("window_size {} holds no merge block of {} patches of {} pixels", config.window_size, merge,
         config.patch_size);
  int64_t patches = 0;
  for (const Grid& grid : grids) patches += checked_patches(grid, merge);
  if (patches > kMaxPatches)
    fail("{} patches in one pass of the vision tower, supported are {}", patches, kMaxPatches);

  // `side` is cut to the largest grid so that a huge window_size cannot overflow the loops.
  const int side = std::min(config.merged_tokens_per_window_side(), static_cast<int>(kMaxPatches));
  WindowIndex result;
  result.index.reserve(static_cast<size_t>(patches / config.patches_per_token()));
  result.cumulative.push_back(0);
  int first = 0;
  for (const Grid& grid : grids) {
    const int height = grid.h / merge, width = grid.w / merge;
    for (int slice = 0; slice < grid.t; ++slice, first += height * width)
      append_slice(result, first, height, width, side, config.patches_per_token());
  }
  return result;
}

}  // namespace dvlm
