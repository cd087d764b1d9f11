#include "train/run_setup.h"

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "checkpoint/foreign.h"
#include "checkpoint/merge.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/plugin.h"
#include "core/thread_pool.h"
#include "model/preprocessing.h"
#include "torch/device.h"
#include "torch/lora.h"
#include "train/mask_token.h"
#include "train/plan.h"
#include "train/state.h"
#include "train/survey.h"
#include "train/training_row.h"
#include "train/weight_patterns.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

ModelConfig model_config(const TrainConfig& config, ModelConfig model) {
  model.clean_attention = clean_attention_of(config);
  if (config.stage == "convert") {
    model.architecture = "Fast_dVLMForConditionalGeneration";
    model.block_size = config.block_size;
    model.minimum_noise_level = config.minimum_noise_level;
  }
  if (config.save_format == "qwen2_5_vl") model.architecture = "Qwen2_5_VLForConditionalGeneration";
  return model;
}

}  // namespace

Network make_network(const TrainConfig& config, const Tokenizer& tokenizer, torch::Device device) {
  torch::manual_seed(config.seed);
  std::optional<Checkpoint> start;
  if (has_weights(config.model))
    start.emplace(config.model);
  else if (const std::string instead = held_instead(config.model); !instead.empty())
    fail("{} holds no safetensors to start from; {}", config.model, instead);
  // Whether the head is tied is known when the tensors are.
  Network network(model_config(config, start ? start->config() : read_config(config.model)));
  network->set_compute_type(config.bf16 ? torch::kBFloat16 : torch::kFloat32);
  network->set_recompute(config.recompute);
  if (start)
    network->load(*start);
  else if (config.stage == "convert")
    log_warning("{} holds no weights: converting a random model; train the \"ar\" stage first", config.model);
  if (config.weight_dtype == "bf16") network->narrow_matrices();
  if (config.lora.rank > 0) {
    const bool convert = config.stage == "convert";
    add_lora(network, config.lora, convert ? tokenizer.find(kMaskToken).value_or(-1) : -1);
  }
  network->to(device);
  return network;
}

namespace {

// Of what all processes must have been told alike. Folders and devices may differ from machine to machine.
uint64_t told(const TrainConfig& config, const Dataset& dataset, bool resume) {
  nlohmann::json all = to_json(config);
  for (const char* own : {"model", "data", "validation", "output", "device", "threads", "readers"})
    all.erase(own);
  for (const DataSource& source : config.data) all["boxes"].push_back(source.box_format);
  all["validates"] = !config.validation.empty();
  all["records"] = dataset.fingerprint();
  all["resume"] = resume;
  return checksum(all.dump() + read_file(fs::path(config.model) / "config.json"));
}

// Processes that do not belong together would add up what does not, or wait for each other.
void require_one_run(uint64_t told, const Ranks& ranks) {
  const torch::Tensor all = ranks.gather(torch::tensor({std::bit_cast<int64_t>(told)}, torch::kInt64));
  for (int rank = 0; rank < ranks.size(); ++rank)
    if (all[rank].item<int64_t>() != all[0].item<int64_t>())
      fail(
          "process {} was started with another configuration, model or data than process 0, or only one of "
          "them with --resume: start all with the same",
          rank);
}

std::string device_name(const TrainConfig& config, const Ranks& ranks) {
  const char* local = std::getenv("LOCAL_RANK");
  const bool own = config.device == "cuda" && ranks.size() > 1 && local;
  return own ? fmt::format("cuda:{}", local) : config.device;
}

// A warning and no more, unlike what device_of() refuses: what a pass takes is estimated, for a batch of the
// longest samples that were found, and what others leave free changes. No run that would fit may end here.
void warn_of_large_passes(const TrainConfig& config, const Dataset& dataset, const ModelConfig& model,
                          const Ranks& ranks) try {
  const std::string name = device_name(config, ranks);
  const torch::Device device = open_device(name);
  const int here = device.is_cuda() ? 1 : Ranks::processes_here();  // that share the device's memory
  const Survey data = survey(config, dataset, model, {.records = 64, .seconds = 10});  // videos are slow
  const RunPlan plan = plan_run(model, config, data.largest, ranks.size(), device.is_cuda());
  if (const double needed = here * plan.bytes(), free = static_cast<double>(free_bytes(device));
      needed > free)
    log_warning(
        "a pass of this run may not fit: with all that the run holds it takes about {:.1f} GB, going by {} "
        "records, and {} has {:.1f} GB free; --plan shows for what, and a lower batch_size or max_length and "
        "\"recompute\": true need less",
        needed / 1e9, data.read, name, free / 1e9);
} catch (const Error&) {  // of the tokenizer, say: all processes will tell, not only this one
}

}  // namespace

fs::path make_output(const TrainConfig& config, const Dataset& dataset, bool resume, const Ranks& ranks) {
  if (ranks.size() > 1) require_one_run(told(config, dataset, resume), ranks);
  const ModelConfig model = read_config(config.model);
  check_patterns(config, model);
  if (!ranks.first()) {
    ranks.wait();
    return config.output;
  }
  make_folder(config.output);
  if (!resume && fs::exists(fs::path(config.output) / kStateFile))
    fail("{} already holds a training run; continue it with --resume or name another output", config.output);
  if (!resume && (has_weights(config.output) || fs::exists(fs::path(config.output) / "adapter_config.json")))
    fail("{} already holds a model, which training would overwrite; name another output", config.output);
  std::error_code error;
  if (fs::equivalent(config.model, config.output, error))
    fail("'model' and 'output' are the same folder {}; the start of a run is not overwritten", config.output);
  copy_companions(config.model, config.output);
  if (config.min_pixels > 0 || config.max_pixels > 0) {
    PreprocessorConfig pictures = model.preprocessor;
    limit_pixels(config.min_pixels, config.max_pixels, pictures.min_pixels, pictures.max_pixels);
    write_pixel_limits(config.output, pictures.min_pixels, pictures.max_pixels);
  }
  if (config.stage == "convert") ensure_mask_token(config.output, model.text.vocab_size);
  warn_of_large_passes(config, dataset, model, ranks);
  ranks.wait();
  return config.output;
}

int passes_of(const TrainConfig& config, int processes) {
  if (config.global_batch_size == 0) return config.accumulation * processes;
  if (config.global_batch_size % (config.batch_size * processes) != 0)
    fail(
        "training config: a 'global_batch_size' of {} is not a number of passes of {} samples by {} "
        "processes",
        config.global_batch_size, config.batch_size, processes);
  return config.global_batch_size / config.batch_size;
}

torch::Device device_of(const TrainConfig& config, const Ranks& ranks) {
  const std::string name = device_name(config, ranks);
  const torch::Device device = open_device(name);
  const RunPlan plan = plan_run(read_config(config.model), config, {}, ranks.size(), device.is_cuda());
  const int here = device.is_cuda() ? 1 : Ranks::processes_here();  // that share the device's memory
  if (const double held = here * plan.bytes(), free = static_cast<double>(free_bytes(device)); held > free)
    fail(
        "this run holds {:.1f} GB all the time, and {} has {:.1f} GB free; --plan shows for what, and "
        "'lora', \"weight_dtype\": \"bf16\" and more processes need less",
        held / 1e9, name, free / 1e9);
  const double loading = Ranks::processes_here() * plan.loading_bytes();
  if (const double free = static_cast<double>(free_bytes(torch::kCPU)); loading > free)
    fail("the model takes {:.1f} GB of this machine's memory while it loads, and {:.1f} GB are free",
         loading / 1e9, free / 1e9);
  return device;
}

void connect_cards(const TrainConfig& config, const Ranks& ranks, torch::Device device) {
  if (ranks.size() == 1 || config.ddp_backend == "gloo") return;
  constexpr const char* kPlugin = "libdvlm_nccl_plugin.so";
  constexpr const char* kHow =
      "build with a CUDA build of PyTorch's wheel (docs/training.md, Several processes)";
  const std::vector<int64_t> lacking =
      ranks.sum({device.is_cuda() ? 0 : 1, Plugin::is_there(kPlugin) ? 0 : 1});  // cards, plugins
  const bool cards = lacking[0] < ranks.size();
  const std::string how = lacking[1] > 0 ? fmt::format("; {}", kHow) : "";
  if (config.ddp_backend == "nccl" && (lacking[0] > 0 || lacking[1] > 0))
    fail(
        "\"ddp_backend\": \"nccl\" needs a card and {} beside the program: of {} processes {} have no card "
        "and "
        "{} no plugin{}",
        kPlugin, ranks.size(), lacking[0], lacking[1], how);
  if (cards && (lacking[0] > 0 || lacking[1] > 0) && ranks.first())
    log_warning(
        "gradients and weights pass through the host's memory: of {} processes {} have no card and {} no "
        "{}{}",
        ranks.size(), lacking[0], lacking[1], kPlugin, how);
  if (lacking[0] > 0 || lacking[1] > 0) return;
  ranks.connect_cards(
      [&](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
        const Plugin plugin(kPlugin, "\"ddp_backend\": \"nccl\"", kHow);
        std::array<char, 2048> problem{};
        c10d::Backend* const opened =
            plugin.function<c10d::Backend*(c10d::Store*, int, int, int, char*, size_t)>("dvlm_open_nccl")(
                store.get(), rank, size, static_cast<int>(Ranks::kTimeout.count()), problem.data(),
                problem.size());
        if (!opened) fail("{}", problem.data());
        return c10::intrusive_ptr<c10d::Backend>::reclaim(opened);
      },
      device);
}

int64_t total_steps(const TrainConfig& config, const Dataset& dataset, int passes) {
  const int64_t per_epoch = (dataset.epoch_size() + config.batch_size - 1) / config.batch_size;
  int64_t steps = config.steps;
  if (config.epochs > 0) {
    const double wanted = std::ceil(config.epochs * static_cast<double>(per_epoch) / passes);
    const int64_t by_epochs = std::max<int64_t>(1, static_cast<int64_t>(std::min(wanted, 1e15)));
    steps = steps > 0 ? std::min(steps, by_epochs) : by_epochs;
  }
  return steps;
}

LoaderOptions loader_options(const TrainConfig& config, const Ranks& ranks, int passes) {
  constexpr int kCoresOfReader = 4;
  const int cores = ThreadPool::default_threads() / Ranks::processes_here();
  const int readers = config.readers > 0 ? config.readers : std::max(1, cores / kCoresOfReader);
  return {config.batch_size, passes, ranks.rank(), ranks.size(), config.seed, readers};
}

}  // namespace dvlm
