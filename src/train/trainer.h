// A training run from start (or from its last checkpoint) to end.
#pragma once
#include <cstdint>
#include <string_view>

#include "train/config.h"

namespace dvlm {

struct TrainResult {
  int64_t step = 0;                       // optimiser steps done, over all starts
  double progress = 0;                    // 1 = complete
  double loss = 0, noisy = 0, clean = 0;  // of the last step
  bool first = true;                      // whether this is the process that writes, see Ranks
};

// Trains as `config` says and leaves in config.output a complete Hugging Face folder, the state for resuming
// (training.safetensors), the log (train.jsonl) and the loss curve (loss.svg). Stops early, with a
// checkpoint, when interrupted() or after `stop_after` more steps (0 = no such limit). Throws Error.
TrainResult train(const TrainConfig& config, bool resume, int64_t stop_after = 0);

// The body of `dvlm train`; `request` is {"config": FILE, "set": ["KEY=VALUE", ...], "output": FOLDER,
// "resume": BOOLEAN} in JSON, of which only config is needed; with "plan": true, "processes": NUMBER and
// "memory": BYTES it prints the plan alone. Returns the exit status: 130 when Ctrl-C stopped the run, so that
// a script does not go on with half a model; 1 for a plan that does not fit. Throws Error.
int train_command(std::string_view request);

}  // namespace dvlm
