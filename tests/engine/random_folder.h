// A checkpoint folder with random weights and the tokenizer of examples/tiny.
#pragma once
#include <cmath>
#include <deque>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "core/random.h"
#include "temporary_folder.h"

namespace dvlm {

class RandomFolder {
 public:
  explicit RandomFolder(std::vector<TokenId> stop_tokens = {}, uint64_t seed = 1) {
    const std::filesystem::path example =
        std::filesystem::path(DVLM_MODELS) / ".." / "examples" / "tiny" / "model";
    std::filesystem::copy(example, folder_.path(), std::filesystem::copy_options::recursive);
    ModelConfig config = read_config(example);
    config.text.hidden_size = config.vision.out_hidden_size = 64;
    config.text.intermediate_size = 96;
    config.text.layers = 2;
    config.text.heads = 4;
    config.text.kv_heads = 2;
    config.text.head_dim = 16;
    config.text.mrope_section = {2, 3, 3};
    config.text.max_positions = 512;
    config.vision.depth = 2;
    config.vision.hidden_size = 32;
    config.vision.intermediate_size = 48;
    config.vision.heads = 2;
    config.vision.full_attention_blocks = {1};
    config.block_size = 8;
    if (!stop_tokens.empty()) config.stop_tokens = stop_tokens;
    write_config(folder_.path(), config);
    write_weights(config, seed);
  }

  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  void write_weights(const ModelConfig& config, uint64_t seed) {
    std::deque<std::vector<float>> storage;
    std::vector<NamedTensor> tensors;
    Random random(seed);
    for (const auto& [name, shape] : expected_tensors(config)) {
      TensorView view{DType::f32, shape, nullptr};
      auto& values = storage.emplace_back(static_cast<size_t>(view.elements()));
      const bool norm = shape.size() == 1 && name.find("norm") != std::string::npos;
      const double scale = 1.5 / std::sqrt(static_cast<double>(shape.back()));
      for (float& value : values) value = norm ? 1.0f : static_cast<float>(random.normal() * scale);
      view.data = reinterpret_cast<const std::byte*>(values.data());
      tensors.push_back({name, view});
    }
    write_safetensors(folder_ / "model.safetensors", tensors);
  }

  TemporaryFolder folder_;
};

}  // namespace dvlm
