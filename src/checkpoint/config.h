// config.json and its companions, with every field validated before anything is allocated from it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace dvlm {

struct TextConfig {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int layers = 0;
  int heads = 0;     // query heads
  int kv_heads = 0;  // key/value heads, a divisor of `heads`
  int head_dim = 0;  // hidden_size / heads unless the file says otherwise
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e6;
  std::vector<int> mrope_section;  // sums to head_dim / 2
  int max_positions = 0;
  bool tie_word_embeddings = true;
  double initializer_range = 0.02;  // standard deviation of random weights, for training from nothing
};

struct VisionConfig {
  int depth = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int heads = 0;
  int out_hidden_size = 0;  // equals TextConfig::hidden_size
  int in_channels = 3;
  int patch_size = 14;
  int temporal_patch_size = 2;
  int spatial_merge_size = 2;
  int window_size = 112;                   // pixels
  std::vector<int> full_attention_blocks;  // the other blocks attend inside windows
  double tokens_per_second = 2;
  double initializer_range = 0.02;  // as TextConfig
  int head_dim() const { return hidden_size / heads; }
  int patches_per_token() const { return spatial_merge_size * spatial_merge_size; }
  bool sees_all(int block) const {
    return std::ranges::find(full_attention_blocks, block) != full_attention_blocks.end();
  }
  int patch_elements() const { return in_channels * temporal_patch_size * patch_size * patch_size; }
  int merged_tokens_per_window_side() const { return window_size / spatial_merge_size / patch_size; }
};

struct PreprocessorConfig {  // preprocessor_config.json; the defaults are Qwen2.5-VL's
  int64_t min_pixels = 3136;
  int64_t max_pixels = 12845056;
  double image_mean[3] = {0.48145466, 0.4578275, 0.40821073};
  double image_std[3] = {0.26862954, 0.26130258, 0.27577711};
};

// What a committed token sees. causal: those before it, so that the model decodes autoregressively too.
// block: all of its own turn and of earlier ones, a turn being a block of an answer or a stretch of prompt
// (docs/reference.md, Block attention).
enum class CleanAttention : uint8_t { causal, block };

constexpr int kMaxBlockSize = 256;  // of a model, and of what anybody asks for

struct ModelConfig {
  std::string architecture;  // architectures[0]
  TextConfig text;
  VisionConfig vision;
  PreprocessorConfig preprocessor;
  TokenId image_token = 151655;
  TokenId video_token = 151656;
  TokenId vision_start_token = 151652;
  TokenId vision_end_token = 151653;
  bool is_pad(TokenId token) const { return token == image_token || token == video_token; }  // of pictures
  std::vector<TokenId>
      stop_tokens;      // config.json and generation_config.json eos_token_id, 151645 first when present
  int block_size = 32;  // bd_size
  double minimum_noise_level = 1e-3;
  CleanAttention clean_attention = CleanAttention::causal;  // clean_attention, a key of dvlm
  std::shared_ptr<const nlohmann::json> quantization;       // quantization_config as it stands, or null
};

// Reads config.json, preprocessor_config.json and generation_config.json (the last two are optional) from a
// Hugging Face model folder: text keys nested or flat, rope_scaling or rope_parameters. Throws Error naming
// file and key.
ModelConfig read_config(const std::filesystem::path& folder);

// Reads "image_processor" of processor_config.json (transformers 5), else preprocessor_config.json; none
// where neither says anything. Settings that dvlm cannot follow are refused by name, those that change
// nothing are warned of.
std::optional<PreprocessorConfig> read_preprocessor(const std::filesystem::path& folder,
                                                    const VisionConfig& vision);
// Writes the limits of a picture's area into the file that read_preprocessor() reads.
void write_pixel_limits(const std::filesystem::path& folder, int64_t min_pixels, int64_t max_pixels);

bool is_qwen(const ModelConfig& config);  // of Qwen2.5-VL's architecture, not Fast-dVLM's

struct ConfigForm {
  const char* dtype = "bfloat16";
  bool keep_companions = false;  // leaves files beside config.json that are there as they are
};
// The inverse of read_config, in the nested layout: config.json, preprocessor_config.json,
// generation_config.json. The architecture says in whose words.
void write_config(const std::filesystem::path& folder, const ModelConfig& config,
                  const ConfigForm& form = {});

// Makes a config.json that `config` was read from clear to others: whole numbers where transformers 5
// declares them (2, not 2.0), and the tie of the head as the tensors have it.
void mend_config(nlohmann::json& file, const ModelConfig& config);

// Which values of two configurations with the same tensors differ and make the same weights another model;
// "": none.
std::string difference_in(const ModelConfig& a, const ModelConfig& b);

// The first problem found in values that disagree with each other, or "": what read_config throws.
std::string problem_in(const ModelConfig& config);

}  // namespace dvlm
