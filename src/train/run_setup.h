// How a run begins: its output folder, its network, its share of the work.
#pragma once
#include <filesystem>
#include <string>

#include "text/tokenizer.h"
#include "torch/network.h"
#include "train/config.h"
#include "train/ranks.h"
#include "train/step_loader.h"

namespace dvlm {

// The output folder with everything of a model folder but weights and config.json; the first process makes
// it, and all wait. Throws Error when it holds a run or a model that is not to be continued, when the
// processes were told different things, and as check_patterns(). Warns where a pass may take more memory than
// is free, going by some records of `dataset`.
std::filesystem::path make_output(const TrainConfig& config, const Dataset& dataset, bool resume,
                                  const Ranks& ranks);

// The network that config.model holds, or a random one of its shape, with adapters where it trains these. A
// resumed run then reads its own weights over these; frozen ones are not in its state. What is drawn at
// random is drawn on the CPU, and so the same for every device.
Network make_network(const TrainConfig& config, const Tokenizer& tokenizer, torch::Device device);

// Of a step, by all processes. Throws Error when they cannot share it.
int passes_of(const TrainConfig& config, int processes);
// Of several processes on a machine each has a card of its own. Throws Error where it has less free memory
// than what a run holds all the time (plan.h).
torch::Device device_of(const TrainConfig& config, const Ranks& ranks);
// By NCCL where every process has a card and the plugin for it, unless config.ddp_backend says otherwise. For
// processes that make_output() found to be of one run; throws Error in all of them.
void connect_cards(const TrainConfig& config, const Ranks& ranks, torch::Device device);
int64_t total_steps(const TrainConfig& config, const Dataset& dataset, int passes);
LoaderOptions loader_options(const TrainConfig& config, const Ranks& ranks, int passes);

}  // namespace dvlm
