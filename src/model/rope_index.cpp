#include <algorithm>

#include "core/error.h"
#include "model/model.h"

namespace dvlm {
namespace {

struct MergedGrid {
  int t, h, w;
};

MergedGrid merged(const Grid& grid, size_t number, int merge) {
  if (grid.t < 1 || grid.h < 1 || grid.w < 1 || grid.h % merge != 0 || grid.w % merge != 0)
    fail(
        "grid {} of the prompt is {}x{}x{} patches: expected positive sides, height and width multiples of "
        "{}",
        number + 1, grid.t, grid.h, grid.w, merge);
  return {grid.t, grid.h / merge, grid.w / merge};
}

// Whether the grid stands for exactly `run` tokens; the factors are compared one by one because their product
// may not fit 64 bits.
bool fills(const MergedGrid& grid, int64_t run) {
  const int64_t area = int64_t{grid.h} * grid.w;
  return area <= run && grid.t <= run && area * grid.t == run;
}

int64_t run_length(std::span<const TokenId> tokens, size_t begin) {
  size_t end = begin;
  while (end < tokens.size() && tokens[end] == tokens[begin]) ++end;
  return static_cast<int64_t>(end - begin);
}

// transformers 4.49 multiplies in f32 before it truncates; later versions cast `seconds` to an integer first,
// which freezes time for every s < 1, so the earlier form is the model's.
int32_t time_offset(int slice, double seconds, double tokens_per_second) {
  const float offset =
      static_cast<float>(slice) * static_cast<float>(seconds) * static_cast<float>(tokens_per_second);
  if (!(offset >= 0.0f && offset < 0x1p30f))
    fail(
        "second_per_grid {} gives temporal slice {} an unusable position: expected seconds per slice, at "
        "least 0",
        seconds, slice);
  return static_cast<int32_t>(offset);
}

int32_t next_after(int32_t highest) {
  if (highest >= (1 << 30)) fail("positions of the prompt exceed {}: shorten it", 1 << 30);
  return highest + 1;
}

// Appends the positions of one run that starts at `next` and returns the position after it.
int32_t append_grid(std::vector<Position>& positions, const MergedGrid& grid, int32_t next, double seconds,
                    double tokens_per_second) {
  int32_t highest = next + std::max(grid.h, grid.w) - 1;
  for (int slice = 0; slice < grid.t; ++slice) {
    const int32_t t = next + time_offset(slice, seconds, tokens_per_second);
    highest = std::max(highest, t);
    for (int y = 0; y < grid.h; ++y)
      for (int x = 0; x < grid.w; ++x) positions.push_back({t, next + y, next + x});
  }
  return next_after(highest);
}

}  // namespace

RopeIndex rope_index(std::span<const TokenId> tokens, std::span<const Grid> grids,
                     std::span<const double> second_per_grid, const ModelConfig& config) {
  if (tokens.size() > (size_t{1} << 30))
    fail("a prompt of {} tokens is too long for positions", tokens.size());
  if (!second_per_grid.empty() && second_per_grid.size() != grids.size())
    fail("second_per_grid has {} values for {} images and videos", second_per_grid.size(), grids.size());
  RopeIndex result;
  result.positions.reserve(tokens.size());
  int32_t next = 0;
  size_t used = 0;
  for (size_t at = 0; at < tokens.size();) {
    const bool video = tokens[at] == config.video_token;
    if (!video && tokens[at] != config.image_token) {
      result.positions.push_back({next, next, next});
      next = next_after(next);
      ++at;
      continue;
    }
    const char* kind = video ? "video" : "image";
    const int64_t run = run_length(tokens, at);
    if (at == 0 || tokens[at - 1] != config.vision_start_token)
      fail("{} pad at token {} does not follow vision_start: user text must not hold pad tokens", kind, at);
    if (used == grids.size())
      fail("the prompt has more image and video runs than the {} pictures given (the one at token {})", used,
           at);
    const MergedGrid grid = merged(grids[used], used, config.vision.spatial_merge_size);
    if (!fills(grid, run))
      fail("{} run at token {} has {} pads, its grid of {}x{}x{} merged tokens needs another number", kind,
           at, run, grid.t, grid.h, grid.w);
    const double seconds = !video ? 0.0 : second_per_grid.empty() ? 1.0 : second_per_grid[used];
    next = append_grid(result.positions, grid, next, seconds, config.vision.tokens_per_second);
    ++used;
    at += static_cast<size_t>(run);
  }
  if (used != grids.size())
    fail("{} pictures given, but the prompt has {} image and video runs", grids.size(), used);
  result.delta = next - static_cast<int32_t>(tokens.size());
  return result;
}

}  // namespace dvlm
