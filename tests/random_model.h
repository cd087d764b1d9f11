// Small random checkpoints for tests that need a network but no knowledge.
#pragma once
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/random.h"

namespace dvlm {

// A network of a few thousand weights with every part of the architecture: grouped keys, windows of 2x2
// merged tokens, one block of full attention, sides that are multiples of nothing. Special tokens are the
// last of the 97.
inline ModelConfig small_config() {
  ModelConfig config;
  config.text = {.vocab_size = 97,
                 .hidden_size = 40,
                 .intermediate_size = 75,
                 .layers = 3,
                 .heads = 4,
                 .kv_heads = 2,
                 .head_dim = 12,
                 .mrope_section = {2, 2, 2},
                 .max_positions = 4096};
  config.vision = {.depth = 2,
                   .hidden_size = 24,
                   .intermediate_size = 37,
                   .heads = 2,
                   .out_hidden_size = 40,
                   .window_size = 56,
                   .full_attention_blocks = {1}};
  config.image_token = 92;
  config.video_token = 93;
  config.vision_start_token = 94;
  config.vision_end_token = 95;
  config.stop_tokens = {91};
  return config;
}

namespace random_model {

// Weights keep the size of what passes through them; norms stand near one.
inline std::vector<float> values(const std::string& name, const std::vector<int64_t>& shape, Random& random) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  const bool norm = shape.size() == 1 && !name.ends_with(".bias");
  const double scale = norm                ? 0.1
                       : shape.size() == 1 ? 0.1
                       : name.find("embed_tokens") != name.npos
                           ? 1.0
                           : 1 / std::sqrt(static_cast<double>(count) / static_cast<double>(shape[0]));
  std::vector<float> out(static_cast<size_t>(count));
  for (float& value : out) value = static_cast<float>((norm ? 1.0 : 0.0) + scale * random.normal());
  return out;
}

inline std::vector<std::byte> encode(const std::vector<float>& in, DType type) {
  std::vector<std::byte> out(in.size() * size_of(type));
  for (size_t i = 0; i < in.size(); ++i) {
    const bf16 narrow = to_bf16(in[i]);
    const void* source = type == DType::bf16 ? static_cast<const void*>(&narrow) : &in[i];
    std::memcpy(out.data() + i * size_of(type), source, size_of(type));
  }
  return out;
}

}  // namespace random_model

// Writes config.json and model.safetensors (`type` F32 or BF16) for a network of this configuration into
// `folder`, which must exist. The same seed gives the same files. Returns `folder`.
inline std::filesystem::path make_random_model(const ModelConfig& config, uint64_t seed,
                                               const std::filesystem::path& folder, DType type = DType::f32) {
  std::vector<std::vector<std::byte>> data;
  std::vector<NamedTensor> tensors;
  Random random(seed);
  for (const auto& [name, shape] : expected_tensors(config)) {
    data.push_back(random_model::encode(random_model::values(name, shape, random), type));
    tensors.push_back({published_name(name), {type, shape, data.back().data()}});
  }
  write_config(folder, config);
  write_safetensors(folder / "model.safetensors", tensors);
  return folder;
}

}  // namespace dvlm
