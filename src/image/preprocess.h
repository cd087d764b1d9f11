// From a picture to the patches that the vision tower reads, bit for bit as qwen-vl-utils + Pillow + the slow
// Qwen2VLImageProcessor do it (docs/reference.md, Preprocessing).
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/error.h"
#include "image/image.h"

namespace dvlm {

struct Size {
  int height = 0, width = 0;
};

struct PreprocessOptions {
  int patch_size = 14;
  int merge_size = 2;
  int temporal_patch_size = 2;
  int64_t min_pixels = 3136;
  int64_t max_pixels = 12845056;
  // Both set: used instead of the picture's own size (docs/reference.md, Sizes).
  int resized_height = 0, resized_width = 0;
  // Hears how many tokens the language model will see of a picture or video, before anything of their size is
  // made; what it throws ends the work.
  std::function<void(int64_t)> admit = {};
  double mean[3] = {0.48145466, 0.4578275, 0.40821073};
  double std[3] = {0.26862954, 0.26130258, 0.27577711};
};

// Sides that are multiples of patch_size * merge_size with min_pixels <= area <= max_pixels, near the aspect
// ratio. Throws Error for an empty picture or an aspect ratio above 200.
Size smart_resize(Size size, const PreprocessOptions& options);

// The same with sides that are multiples of `side` and an area within [minimum, maximum]: videos have bounds
// that are no whole numbers.
Size smart_resize_within(Size size, int side, double minimum, double maximum);

// The size that preprocess_image resizes to: smart_resize, of resized_height x resized_width where these are
// set.
Size resized_size(Size size, const PreprocessOptions& options);

// Calls PreprocessOptions::admit. `frames`: 1 for a picture.
void admit(Size resized, size_t frames, const PreprocessOptions& options);

// Pillow's Image.resize with BICUBIC, 8 bits, width before height as in every Pillow before 13.
Image resize_bicubic(const Image& image, Size size);

// torchvision's resize of a uint8 video frame (torch.nn.functional.interpolate with mode="bicubic",
// antialias=True in float32, clamped, rounded half to even). Equal to it up to 1 level: torch's order of
// additions depends on its build.
Image resize_bicubic_float(const Image& image, Size size);

// (t, h, w) in patches; the language model sees t * h * w / merge_size^2 tokens.
struct Grid {
  int t = 0, h = 0, w = 0;
  int64_t patches() const { return int64_t{t} * h * w; }
  bool operator==(const Grid&) const = default;
};

// What the model reads of one image or video.
struct Patches {
  // [grid.patches(), channels * temporal_patch_size * patch_size^2] (docs/reference.md, Patch order)
  std::vector<float> values;
  Grid grid;
  double second_per_grid = 0;  // videos: seconds per temporal patch; 0 for images
  Size original, resized;
};

Patches preprocess_image(const Image& image, const PreprocessOptions& options);

// Patches of already resized frames (all of one size, multiples of 28; an odd count repeats the last).
Patches extract_patches(std::span<const Image> frames, const PreprocessOptions& options);

}  // namespace dvlm
