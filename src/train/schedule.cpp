#include "train/schedule.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace dvlm {

double run_progress(int64_t step, int64_t steps, double seconds, double max_minutes) {
  double progress = 0;
  if (steps > 0) progress = static_cast<double>(step) / static_cast<double>(steps);
  if (max_minutes > 0) progress = std::max(progress, seconds / (60 * max_minutes));
  return std::clamp(progress, 0.0, 1.0);
}

double learning_rate_at(double progress, const TrainConfig& config) {
  const double warmup = config.warmup_ratio;
  if (progress < warmup) return config.learning_rate * progress / warmup;
  if (config.schedule == "constant") return config.learning_rate;
  const double share = std::min(1.0, (progress - warmup) / (1 - warmup));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * share));
  return config.learning_rate * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine);
}

int block_size_at(double progress, const std::string& annealing, int block_size) {
  if (annealing == "none") return block_size;
  const bool paper = annealing == "paper";
  const int smallest_log2 = paper ? 1 : 2;
  const int candidates = std::bit_width(static_cast<unsigned>(block_size)) - smallest_log2;
  const double share = paper ? progress : std::sqrt(progress);
  const int index = std::min(static_cast<int>(share * candidates), candidates - 1);
  return 1 << (smallest_log2 + index);
}

}  // namespace dvlm
