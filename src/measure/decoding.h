// Decoders against each other, and beside each other in shared passes, at a published shape, with recorded
// drafts (replay.h).
#pragma once
#include "measure/replay.h"

namespace dvlm {

struct DecodeTiming {
  std::string precision;  // of precision_names()
  std::string decoder;    // "ar", "spec", "fused" or "auto"
  int block_size = 1;     // automatic: the most it may take
  double temperature = 0;
  int tokens = 0, nfe = 0, rounds = 0, fused = 0, verified = 0;
  double ms = 0;              // decoding alone, without prefill
  std::map<int, int> blocks;  // automatic: rounds by block size
  double tokens_per_s() const { return ms > 0 ? 1000 * tokens / ms : 0; }
  double tokens_per_nfe() const { return nfe > 0 ? static_cast<double>(tokens) / nfe : 0; }
};

struct DecodeBenchOptions {
  std::string shape = "3b";
  ModelOptions model = {};
  std::vector<std::string> precisions = {"bf16", "fp8"}, decoders = {"ar", "spec", "fused", "auto"};
  std::vector<int> blocks = {8, 16, 32};   // of spec and fused; auto may take any up to the largest
  int prompt = 256;                        // tokens before the answer
  int branches = 4;                        // of fused
  double draft_p_min = 0;                  // see DecodeOptions
  std::vector<double> temperatures = {0};  // draws are made, and then say what was recorded
  double top_p = 1;
  int max_tokens = 64;  // of each answer
  size_t answers = 4;   // at most
};

// Runs every decoder in every precision on one answer, then on the next, so that all see the same states of
// the machine. Shows a progress bar; stops early, with what was measured, when the user interrupts.
std::vector<DecodeTiming> time_decoders(const DecodeBenchOptions& options,
                                        const std::vector<RecordedAnswer>& answers);

// Requests that share passes.
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
