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

}  // namespace dvlm
