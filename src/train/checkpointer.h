// What a run leaves on the disk as it goes: its state, its model, its curve, and what validation says of the
// model.
#pragma once
#include <filesystem>
#include <functional>
#include <future>
#include <limits>
#include <optional>
#include <vector>

#include "core/stopwatch.h"
#include "torch/network.h"
#include "train/config.h"
#include "train/curve.h"
#include "train/optimizer.h"
#include "train/ranks.h"
#include "train/state.h"
#include "train/validation.h"

namespace dvlm {

class Checkpointer {
 public:
  using Validate = std::function<std::optional<ValidationPoint>(int64_t step)>;  // nothing: no measure

  // Writes to config.output. A run that goes on has done `step` steps; `validate` is empty where nothing
  // validates. What is referred to lives longer.
  Checkpointer(const TrainConfig& config, const Ranks& ranks, Network& network, Optimizer& optimizer,
               Validate validate, int64_t step);

  // All processes call both together. begin() ends the checkpoint before; what it has begun is written while
  // training goes on where the network is on a card, whose weights are copied, and at once on the CPU, where
  // copies would take as much memory again. Throws Error for weights that are infinite or NaN.
  void begin(const RunState& run, const std::vector<LogPoint>& points);
  void end();  // waits until all is written; nothing where nothing has begun

  bool due() const;      // whether config.checkpoint_minutes have passed since the last
  bool written() const;  // whether all that this process writes is there, and only end() is left

 private:
  void check_weights() const;
  void write(std::function<void()> job);
  // Whether processes may end writing one after the other.
  bool apart() const { return !on_cpu_ && ranks_.size() > 1; }
  void keep_models(int64_t step, const std::optional<ValidationPoint>& validated);

  const TrainConfig& config_;
  const Ranks& ranks_;
  const bool on_cpu_;
  const std::filesystem::path output_;
  Network& network_;
  Optimizer& optimizer_;
  const Validate validate_;
  double best_ = std::numeric_limits<double>::infinity();  // loss of validation so far
  Clock::time_point last_ = Clock::now();
  struct Checkpoint {
    StateWriter state;
    int64_t step;
    std::optional<ValidationPoint> validated = {};
  };
  std::optional<Checkpoint> current_;
  std::vector<std::future<void>> jobs_;  // the last member: they end before what they read is gone
};

}  // namespace dvlm
