// How far a quantised model's predictions are from the original's.
#pragma once
#include <span>

#include "quantize/calibration.h"

namespace dvlm {

// Over the next-token predictions of some samples, pictures' pads left out.
struct Divergence {
  int64_t tokens = 0;
  double original_perplexity = 0, quantized_perplexity = 0;
  double mean_kl = 0, median_kl = 0, p99_kl = 0;  // nats, KL(original || quantized)
  double same_top = 0;                            // share of tokens where both hold the same one likeliest
};

// Shows a progress bar. Samples longer than `length` tokens are cut or left out as in calibrate(). Throws
// Error when nothing is left or the user interrupts.
Divergence compare(Engine& original, Engine& quantized, std::span<const CalibrationSample> samples,
                   int length);

}  // namespace dvlm
