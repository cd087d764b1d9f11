// What a checkpoint and a caller together say about preprocessing.
#pragma once
#include "checkpoint/config.h"
#include "image/preprocess.h"
#include "image/video.h"

namespace dvlm {

// The checkpoint's patch sizes, limits and normalisation.
PreprocessOptions checkpoint_preprocessing(const ModelConfig& config);

// Limits on pixels that the caller gave (0 = none) replace the defaults; a default that then contradicts a
// given limit gives way. Throws Error when low > high.
void limit_pixels(int64_t low, int64_t high, int64_t& min_pixels, int64_t& max_pixels);

// What callers say about the size of one picture or video; 0 = nothing.
struct SizeLimits {
  int64_t min_pixels = 0, max_pixels = 0;
  int64_t pixel_bound = 0;                    // no more than this, whatever else is said
  int resized_height = 0, resized_width = 0;  // of a picture or a frame, in place of limits
};

// `own` of a picture or video, and for what it leaves open the limits of the whole request or run, which give
// way where they contradict its own.
SizeLimits completed(SizeLimits own, int64_t min_pixels, int64_t max_pixels);

// The same of a part of a message: text/chat.h's ContentPart, which this room does not see. Whoever reads
// pictures takes these, so that a model is trained on the sizes that it is asked with.
template <class Part>
SizeLimits size_limits(const Part& part, int64_t min_pixels, int64_t max_pixels) {
  return completed(
      {part.min_pixels, part.max_pixels, part.pixel_bound, part.resized_height, part.resized_width},
      min_pixels, max_pixels);
}

// The checkpoint's preprocessing within these limits. Throws Error as limit_pixels().
PreprocessOptions preprocessing_within(const SizeLimits& limits, const ModelConfig& config);
// How a video is read within them; `fps` and `nframes` 0: the defaults. Throws Error likewise.
VideoOptions video_within(const SizeLimits& limits, double fps, int nframes);

}  // namespace dvlm
