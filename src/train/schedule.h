// What changes over a run: learning rate and block size, both functions of progress in [0, 1].
#pragma once
#include <cstdint>

#include "train/config.h"

namespace dvlm {

// max(step / steps, seconds / (60 max_minutes)), at most 1; a limit of 0 does not count.
double run_progress(int64_t step, int64_t steps, double seconds, double max_minutes);

// Linear warm-up from 0 over warmup_ratio, then cosine to min_lr_ratio or constant.
double learning_rate_at(double progress, const TrainConfig& config);

// The block size at progress u (docs/reference.md, Block-size annealing). "paper": candidates S =
// {2, 4, ..., B}, index floor(u |S|). "code": {4, 8, ..., B}, index int(sqrt(u) |S|), which is the released
// {4, 8, 16, 32} for B = 32. "none": always B.
int block_size_at(double progress, const std::string& annealing, int block_size);

}  // namespace dvlm
