// What `dvlm train` is told: one JSON object, every key with a default, unknown keys refused.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/lora_options.h"
#include "train/data_source.h"

namespace dvlm {

inline constexpr int64_t kMaxSteps = 1'000'000'000;  // of a run: with any batch, its samples can be counted

// How much each half of the dual stream counts (docs/reference.md, Training loss).
struct LossWeights {
  double noisy = 0.5, clean = 0.5;
};

struct TrainConfig {
  // "ar": next-token training; "convert": AR to block diffusion (docs/training.md)
  std::string stage = "ar";
  std::string
      model;  // folder with config.json and tokenizer; weights in it are continued, else drawn at random
  std::vector<DataSource> data;
  std::vector<DataSource> validation;  // what is never learnt: the model's loss on it is measured
  int validation_samples = 256;        // at most so many of its records
  std::string output;                  // folder that receives model, state, log and loss curve

  int batch_size = 16;        // samples per forward pass
  int accumulation = 1;       // passes of each process per optimiser step
  int global_batch_size = 0;  // samples per optimiser step; 0 = batch_size * accumulation * processes
  int max_length = 2048;      // tokens of the clean stream; longer samples are cut, see make_sample
  int64_t min_pixels = 0, max_pixels = 0;  // of pictures and frames; 0 = the model's, see SampleContext
  double max_bad_samples = 0.01;           // share of the records that may be bad; more end the run
  int readers = 0;                         // threads that read ahead; 0 = one for every four cores

  // The run ends at whichever comes first; 0 = no such limit, at least one is needed. Schedules follow
  // progress = max(step / steps, elapsed / max_minutes).
  int64_t steps = 0;
  double epochs = 0;
  double max_minutes = 0;

  double learning_rate = 5e-6;
  double min_lr_ratio = 0;          // the cosine ends at this share of the peak
  std::string schedule = "cosine";  // "cosine" | "constant", both after the warm-up
  double warmup_ratio = 0.03;       // share of the run
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  // matrices only: never norms and biases
  double clip_norm = 1.0;   // of the whole gradient; 0 = off
  double ema_decay = 0;     // exponential moving average of the weights, which is then what is saved; 0 = off

  uint64_t seed = 1;
  int threads = 0;                   // 0 = all cores
  std::string device = "cpu";        // "cpu" | "cuda" | "cuda:N": where the network and the optimiser are
  std::string ddp_backend = "auto";  // "auto" | "nccl" | "gloo": how several processes' cards send tensors
  bool bf16 = true;                  // matrix products; weights, optimiser, norms and loss stay float
  bool recompute = false;            // layers keep their inputs alone and run again for their gradients
  std::string weight_dtype = "f32";  // "f32" | "bf16": of the network's matrices; the optimiser's are float
  std::vector<std::string> freeze;   // weight names, '*' matches anything: "visual.*"
  LoraOptions lora;                  // adapters that train in place of the weights

  double region_weight = 0;  // of the words of "regions" beside the other losses; 0 = they are not learnt

  // Conversion only.
  int block_size = 32;
  // "paper" | "code" | "none": block size over progress (docs/reference.md, Block-size annealing)
  std::string annealing = "paper";
  LossWeights loss_weights;  // "paper" = [0.5, 0.5], "code" = [0.5, 1.0], or [noisy, clean]
  std::string normalization =
      "mean";  // "mean": each cross entropy over its own tokens; "num_items": see docs/training.md
  // "causal", or "block": clean tokens see all of their own turn, see visible() in train/masks.h
  std::string clean_attention = "causal";
  bool auto_truncation = true;  // false: blocks run across turns, see make_untruncated_layout()
  double minimum_noise_level = 1e-3;
  bool complementary = true;     // train on each noised copy and its complement
  bool vision_efficient = true;  // noisy copies without vision placeholder tokens
  bool noisy_prompts = true;     // noisy copies hold the prompts too, as the paper's; false is cheaper
  bool random_block_offset =
      false;  // first block of an answer has a random length 1..B; false = B, as the paper's
  double full_mask_probability = 0;  // share of blocks that are masked whole; 0 as the paper's
  bool known_first_token =
      false;  // a block's first token is never masked, as at inference; false as the paper's

  double checkpoint_minutes = 10;
  int keep_checkpoints = 0;         // earlier models that stay, in step-NUMBER inside the output
  int log_interval = 10;            // steps
  std::string save_dtype = "bf16";  // "bf16" | "f32"
  // "auto": a conversion as Fast-dVLM, "ar" as what it started from; "qwen2_5_vl": for loaders that know
  // Qwen2.5-VL alone, and decode it autoregressively
  std::string save_format = "auto";
};

// Reads and validates. `overrides` are "key=value", the value JSON or else a plain string. Throws Error
// naming the key.
TrainConfig read_train_config(const std::filesystem::path& path,
                              const std::vector<std::string>& overrides = {});
TrainConfig parse_train_config(const nlohmann::json& json);
nlohmann::json to_json(const TrainConfig& config);

// Throws Error naming the first field whose value makes no sense.
void validate(const TrainConfig& config);

}  // namespace dvlm
