// The time of passes against the bounds of the machine.
#pragma once
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "measure/machine.h"

namespace dvlm {

constexpr int kWidestBlock = 128;  // a wider pass is a prompt's

struct PassTiming {
  std::string precision;  // of precision_names()
  int rows = 0;           // tokens that enter the pass; each chooses, beyond kWidestBlock only the last
  int context = 0;        // committed tokens that they see
  double ms = 0;          // median
  double bytes = 0;       // weights and keys that the pass reads
  double flops = 0;       // multiplications and additions of linears, head and attention
  double probe_gb_per_s = 0, probe_gflops = 0;  // medians of probes taken in turn with the passes
  double roofline_ms() const;                   // the larger of both bounds
  double roofline_ratio() const { return ms / roofline_ms(); }
};

// Multiplications and additions of linears, head and attention.
double text_flops(const TextConfig& text, double rows, double context, double head_rows);

double median(std::vector<double> values);

struct PassOptions {
  std::string shape = "3b";
  std::vector<std::string> precisions = {"bf16", "fp8"};
  std::vector<int> rows = {1, 4, 8, 16, 32, 64, 96}, contexts = {0, 1024};
  int repeats = 5;
};

// Random weights of the shape, one precision after the other. Shows a progress bar; stops early, with what
// was measured, when the user interrupts.
std::vector<PassTiming> time_passes(const PassOptions& options, Machine& machine);

}  // namespace dvlm
