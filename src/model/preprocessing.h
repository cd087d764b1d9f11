// What a checkpoint and a caller together say about preprocessing.
#pragma once
#include "checkpoint/config.h"
#include "image/preprocess.h"

namespace dvlm {

// The checkpoint's patch sizes, limits and normalisation.
PreprocessOptions checkpoint_preprocessing(const ModelConfig& config);

// Limits on pixels that the caller gave (0 = none) replace the defaults; a default that then contradicts a
// given limit gives way. Throws Error when low > high.
void limit_pixels(int64_t low, int64_t high, int64_t& min_pixels, int64_t& max_pixels);

}  // namespace dvlm
