// The time from an image to the first token: preprocessing, vision tower, prefill.
#pragma once
#include <string>
#include <vector>

#include "measure/machine.h"

namespace dvlm {

struct ImageTiming {
  std::string precision;                                    // of precision_names()
  int width = 0, height = 0;                                // of the image as the model sees it
  int image_tokens = 0, tokens = 0;                         // of the prompt
  double preprocess_ms = 0, vision_ms = 0, prefill_ms = 0;  // medians
  double vision_flops = 0, prefill_flops = 0;               // multiplications and additions
  double probe_gflops = 0;                                  // median, taken in turn
  double first_token_ms() const { return preprocess_ms + vision_ms + prefill_ms; }
  // x bound by multipliers.
  double vision_ratio() const { return vision_ms * probe_gflops * 1e6 / vision_flops; }
  double prefill_ratio() const { return prefill_ms * probe_gflops * 1e6 / prefill_flops; }
};

struct ImageBenchOptions {
  std::string shape = "3b";
  std::vector<std::string> precisions = {"bf16", "fp8"};
  int width = 644, height = 476;  // of the image
  int text_tokens = 32;           // of the prompt beside it
  int repeats = 3;
};

// Random weights, an image of noise. Shows a progress bar; stops early, with what was measured, when the
// user interrupts. Throws Error for sizes that the model would refuse.
std::vector<ImageTiming> time_images(const ImageBenchOptions& options, Machine& machine);

}  // namespace dvlm
