#include "model/preprocessing.h"

#include <algorithm>

#include "core/error.h"

namespace dvlm {

PreprocessOptions checkpoint_preprocessing(const ModelConfig& config) {
  PreprocessOptions options;
  options.patch_size = config.vision.patch_size;
  options.merge_size = config.vision.spatial_merge_size;
  options.temporal_patch_size = config.vision.temporal_patch_size;
  options.min_pixels = config.preprocessor.min_pixels;
  options.max_pixels = config.preprocessor.max_pixels;
  std::copy_n(config.preprocessor.image_mean, 3, options.mean);
  std::copy_n(config.preprocessor.image_std, 3, options.std);
  return options;
}

void limit_pixels(int64_t low, int64_t high, int64_t& min_pixels, int64_t& max_pixels) {
  if (low > 0 && high > 0 && low > high) fail("min_pixels ({}) exceeds max_pixels ({})", low, high);
  if (low > 0) min_pixels = low, max_pixels = std::max(max_pixels, low);
  if (high > 0) max_pixels = high, min_pixels = std::min(min_pixels, high);
}

SizeLimits completed(SizeLimits own, int64_t min_pixels, int64_t max_pixels) {
  const int64_t low = own.min_pixels, high = own.max_pixels;
  if (low == 0) own.min_pixels = high > 0 ? std::min(min_pixels, high) : min_pixels;
  if (high == 0) own.max_pixels = low > 0 && max_pixels > 0 ? std::max(max_pixels, low) : max_pixels;
  return own;
}

PreprocessOptions preprocessing_within(const SizeLimits& limits, const ModelConfig& config) {
  PreprocessOptions options = checkpoint_preprocessing(config);
  const int64_t least = options.min_pixels, bound = limits.pixel_bound;
  limit_pixels(limits.min_pixels, limits.max_pixels, options.min_pixels, options.max_pixels);
  if (bound > 0 && options.max_pixels > bound) {
    options.max_pixels = bound;
    options.min_pixels = std::min({options.min_pixels, least, bound});
  }
  options.resized_height = limits.resized_height;
  options.resized_width = limits.resized_width;
  return options;
}

VideoOptions video_within(const SizeLimits& limits, double fps, int nframes) {
  VideoOptions options;
  if (fps > 0) options.fps = fps;
  options.nframes = nframes;
  limit_pixels(limits.min_pixels, limits.max_pixels, options.min_pixels, options.max_pixels);
  return options;
}

}  // namespace dvlm
