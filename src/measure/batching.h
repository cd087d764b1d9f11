// Tokens per second of several requests that share passes, at a published shape, with recorded drafts
// (replay.h).
#pragma once
#include "measure/replay.h"

namespace dvlm {

struct BatchTiming {
  std::string precision, decoder;
  int block_size = 1;
  size_t concurrent = 1;
  int tokens = 0, passes = 0;
  double ms = 0;  // without the prompts
  double tokens_per_s() const { return ms > 0 ? 1000 * tokens / ms : 0; }
};

struct BatchBenchOptions {
  std::string shape = "3b";
  ModelOptions model = {};
  std::vector<std::string> precisions = {"bf16", "fp8"}, decoders = {"ar", "spec"};
  std::vector<size_t> concurrent = {1, 2, 4, 8};
  int block_size = 8;
  int prompt = 64;      // tokens before each answer
  int max_tokens = 32;  // of each answer
  int rounds = 2;       // every setting once in each
};

// Shows a progress bar; stops early, with what was measured, when the user interrupts.
std::vector<BatchTiming> time_batches(const BatchBenchOptions& options,
                                      const std::vector<RecordedAnswer>& answers);

}  // namespace dvlm
