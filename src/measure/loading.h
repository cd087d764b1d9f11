// How long a checkpoint on a disk takes to become a model, beside reading its file.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "measure/machine.h"

namespace dvlm {

struct LoadTiming {
  std::string state;                        // of the file: "cold" (not in the system's cache) or "warm"
  double file_bytes = 0, weight_bytes = 0;  // on the disk; packed
  double read_ms = 0;                       // one thread, from front to back, into nothing
  double load_ms = 0, packed_ms = 0;        // repacking; from a file of repacked weights (not on a card: 0)
  double peak_bytes = 0;                    // of the process so far
};

struct LoadBenchOptions {
  std::string shape = "3b", precision = "fp8";
  std::filesystem::path folder;  // for a random checkpoint and its repacked weights; made in a folder of its
                                 // own there, and used again
};

// Throws Error when the folder cannot be written. Shows a progress bar.
std::vector<LoadTiming> time_loading(const LoadBenchOptions& options, Machine& machine);

}  // namespace dvlm
