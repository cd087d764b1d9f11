// What the state of a stopped run says beside its tensors, and whether all of it is as it was written.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "checkpoint/safetensors.h"

namespace dvlm {

struct RunState {
  int64_t step = 0;
  double seconds = 0;   // of training so far, over all starts
  std::string config;   // JSON, for messages when a resumed run is configured differently
  std::string data;     // Dataset::fingerprint()
  int64_t passes = 1;   // of a step, by all processes
  int64_t parts = 1;    // files of the state, one of each process
  int64_t applied = 0;  // of the steps: those that changed the weights
  int64_t bad = 0, dropped = 0, shrunk = 0, skipped = 0;  // see LogPoint
};

// The metadata of a file with these tensors, a checksum of both among it.
std::map<std::string, std::string> state_metadata(const RunState& run, std::span<const NamedTensor> tensors);

// Throws Error when the checksum is not that of the content, or the metadata none of a run. `name` of the
// file, for messages.
RunState read_run_state(const Safetensors& file, const std::string& name);

}  // namespace dvlm
