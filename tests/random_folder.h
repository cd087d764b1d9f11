// A checkpoint folder with random weights and the tokenizer of examples/tiny.
#pragma once
#include "random_model.h"
#include "temporary_folder.h"

namespace dvlm {

class RandomFolder {
 public:
  explicit RandomFolder(const std::vector<TokenId>& stop_tokens = {}, uint64_t seed = 1) {
    const std::filesystem::path example =
        std::filesystem::path(DVLM_MODELS) / ".." / "examples" / "tiny" / "model";
    std::filesystem::copy(example, folder_.path(), std::filesystem::copy_options::recursive);
    ModelConfig config = read_config(example);
    config.text.hidden_size = config.vision.out_hidden_size = 64;
    config.text.intermediate_size = 96;
    config.text.layers = 2;
    config.text.tie_word_embeddings = false;  // a tied random head repeats the last token
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
    make_random_model(config, seed, folder_.path());
  }

  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

}  // namespace dvlm
