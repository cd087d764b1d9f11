#include "image/preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"

namespace dvlm {

namespace {

constexpr double kMaxRatio = 200;
constexpr double kMaxPixels = 1 << 28;  // of a resized picture: a patch tensor of 6 GB

void validate(const PreprocessOptions& options) {
  const auto small = [](int value) { return value >= 1 && value <= 1024; };
  if (!small(options.patch_size)) fail("patch_size must be in 1..1024, got {}", options.patch_size);
  if (!small(options.merge_size)) fail("merge_size must be in 1..1024, got {}", options.merge_size);
  if (!small(options.temporal_patch_size))
    fail("temporal_patch_size must be in 1..1024, got {}", options.temporal_patch_size);
  if (options.min_pixels < 0 || options.min_pixels > options.max_pixels)
    fail("min_pixels must be between 0 and max_pixels, got {} and {}", options.min_pixels,
         options.max_pixels);
  if ((options.resized_height > 0) != (options.resized_width > 0) || options.resized_height < 0)
    fail("resized_height and resized_width must be given together, got {} and {}", options.resized_height,
         options.resized_width);
  for (const double std : options.std)
    if (!(std > 0)) fail("image_std must be positive, got {}", std);
}

// One entry per byte and channel: rescale in double, normalise in float, as numpy does it.
using Table = std::array<std::array<float, 256>, 3>;

Table normalisation(const PreprocessOptions& options) {
  Table table;
  for (int c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(options.mean[c]), std = static_cast<float>(options.std[c]);
    for (int value = 0; value < 256; ++value) {
      const float scaled = static_cast<float>(value * (1.0 / 255.0));
      table[c][value] = (scaled - mean) / std;
    }
  }
  return table;
}

// The patch whose upper left corner is pixel (x, y) of `frames`, one per temporal position: [3, temporal,
// side, side].
float* write_patch(std::span<const Image* const> frames, int x, int y, int side, const Table& table,
                   float* out) {
  for (int c = 0; c < 3; ++c) {
    for (const Image* frame : frames) {
      for (int row = 0; row < side; ++row) {
        const uint8_t* in = &frame->pixels[(static_cast<size_t>(y + row) * frame->width + x) * 3 + c];
        for (int column = 0; column < side; ++column) *out++ = table[c][in[3 * column]];
      }
    }
  }
  return out;
}

}  // namespace

Size smart_resize_within(Size size, int side, double minimum, double maximum) {
  if (size.height < 1 || size.width < 1)
    fail("the picture is {} x {} pixels; both sides must be at least 1", size.width, size.height);
  const double height = size.height, width = size.width, factor = side;
  const double ratio = std::max(height, width) / std::min(height, width);
  if (ratio > kMaxRatio)
    fail(
        "the picture is {} x {} pixels: its longer side is {:.1f} times the shorter one and at most {} is "
        "allowed; cut it into parts",
        size.width, size.height, ratio, kMaxRatio);
  // nearbyint is Python's round: half to even.
  double h = std::max(factor, std::nearbyint(height / factor) * factor);
  double w = std::max(factor, std::nearbyint(width / factor) * factor);
  if (h * w > maximum) {
    const double beta = std::sqrt(height * width / maximum);
    h = std::max(factor, std::floor(height / beta / factor) * factor);
    w = std::max(factor, std::floor(width / beta / factor) * factor);
  } else if (h * w < minimum) {
    const double beta = std::sqrt(minimum / (height * width));
    h = std::ceil(height * beta / factor) * factor;
    w = std::ceil(width * beta / factor) * factor;
  }
  if (h * w > kMaxPixels)
    fail(
        "the picture is {} x {} pixels and would be resized to {:.0f} x {:.0f}, above the {} that are "
        "allowed: lower {}",
        size.width, size.height, w, h, kMaxPixels, minimum > kMaxPixels ? "min_pixels" : "max_pixels");
  return {static_cast<int>(h), static_cast<int>(w)};
}

Size smart_resize(Size size, const PreprocessOptions& options) {
  validate(options);
  return smart_resize_within(size, options.patch_size * options.merge_size,
                             static_cast<double>(options.min_pixels),
                             static_cast<double>(options.max_pixels));
}

Size resized_size(Size size, const PreprocessOptions& options) {
  validate(options);
  if (options.resized_height == 0) return smart_resize(size, options);
  const int factor = options.patch_size * options.merge_size;
  const double area = static_cast<double>(factor) * factor;
  return smart_resize_within({options.resized_height, options.resized_width}, factor, 4 * area, 16384 * area);
}

void admit(Size resized, size_t frames, const PreprocessOptions& options) {
  if (!options.admit) return;
  const auto temporal = static_cast<size_t>(options.temporal_patch_size);
  const int64_t side = int64_t{options.patch_size} * options.merge_size;
  options.admit(static_cast<int64_t>((frames + temporal - 1) / temporal) * (resized.height / side) *
                (resized.width / side));
}

Patches extract_patches(std::span<const Image> frames, const PreprocessOptions& options) {
  validate(options);
  const int patch = options.patch_size, merge = options.merge_size, temporal = options.temporal_patch_size;
  if (frames.empty()) fail("there are no frames to make patches of");
  const int width = frames[0].width, height = frames[0].height, factor = patch * merge;
  for (const Image& frame : frames) {
    if (frame.width != width || frame.height != height)
      fail("all frames must have one size: one is {} x {} and another {} x {}", width, height, frame.width,
           frame.height);
    DVLM_ASSERT(frame.pixels.size() == static_cast<size_t>(frame.width) * frame.height * 3);
  }
  if (width < factor || height < factor || width % factor != 0 || height % factor != 0)
    fail("a frame of {} x {} pixels cannot be cut into patches: both sides must be multiples of {}", width,
         height, factor);
  Patches result;
  const int slices = static_cast<int>((frames.size() + temporal - 1) / temporal);
  result.grid = {slices, height / patch, width / patch};
  result.original = result.resized = {height, width};
  const Table table = normalisation(options);
  result.values.resize(static_cast<size_t>(result.grid.patches()) * 3 * temporal * patch * patch);
  float* out = result.values.data();
  std::vector<const Image*> slice(temporal);
  for (int t = 0; t < slices; ++t) {
    for (int i = 0; i < temporal; ++i)
      slice[i] = &frames[std::min<size_t>(size_t{1} * t * temporal + i, frames.size() - 1)];
    for (int y = 0; y < height; y += factor)
      for (int x = 0; x < width; x += factor)
        for (int i = 0; i < merge; ++i)
          for (int j = 0; j < merge; ++j)
            out = write_patch(slice, x + j * patch, y + i * patch, patch, table, out);
  }
  return result;
}

Patches preprocess_image(const Image& image, const PreprocessOptions& options) {
  const Size original{image.height, image.width};
  const Image resized = resize_bicubic(image, resized_size(original, options));
  Patches patches = extract_patches(std::span(&resized, 1), options);
  patches.original = original;
  return patches;
}

}  // namespace dvlm
