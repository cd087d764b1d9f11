// What a run will need, before it starts: parameters, passes, memory of each device.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/config.h"
#include "train/config.h"

namespace dvlm {

// The largest pass of a step.
struct PassSize {
  int64_t rows = 0;     // tokens of all streams, padding included
  int64_t length = 0;   // of one of its samples
  int64_t patches = 0;  // of its pictures
  int64_t scored = 0;   // rows that go through the head
};

struct MemoryPart {
  std::string name;
  double bytes = 0;
};

struct RunPlan {
  int64_t parameters = 0, trained = 0;
  std::vector<MemoryPart> memory;  // of each device, while a step runs
  double bytes() const;
  // Of the host, for a moment: weights are floats until they are read.
  double loading_bytes() const { return 4 * static_cast<double>(parameters); }
  double state_bytes = 0, model_bytes = 0;  // of files
};

// Of a network of this shape on `processes` devices; `card`: of NVIDIA's, else CPUs. Bytes of weights and
// optimiser are exact; those of a pass are what LibTorch's operators keep for the backward pass, and what is
// largest beside them.
RunPlan plan_run(const ModelConfig& model, const TrainConfig& config, const PassSize& pass, int processes,
                 bool card);

// Reads records of the data as training will, and prints the plan, and what steps took where the run has
// begun; `memory`: bytes of a device, 0 = what it has free, where it is here. Returns whether the run fits,
// as far as that is known. Throws Error as check_patterns().
bool print_plan(const TrainConfig& config, int processes, double memory);

}  // namespace dvlm
