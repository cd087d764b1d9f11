#include "train/training_row.h"

#include "train/layout.h"
#include "train/noise.h"

namespace dvlm {

CleanAttention clean_attention_of(const TrainConfig& config) {
  return config.clean_attention == "block" ? CleanAttention::block : CleanAttention::causal;
}

Layout training_layout(const Sample& sample, const TrainConfig& config, int block_size) {
  const NoiseKey key{config.seed, sample.draw};
  std::vector<int> first_blocks;
  if (config.random_block_offset) first_blocks = draw_first_blocks(sample.answers.size(), block_size, key);
  const int length = static_cast<int>(sample.ids.size());
  return config.auto_truncation ? make_layout(length, sample.answers, block_size, first_blocks)
                                : make_untruncated_layout(length, sample.answers, block_size);
}

Row training_row(const Sample& sample, const TrainConfig& config, const StreamTokens& tokens,
                 int block_size) {
  const NoiseOptions noise{config.minimum_noise_level, config.complementary, config.full_mask_probability,
                           config.known_first_token};
  const RowOptions options{.vision_efficient = config.vision_efficient,
                           .noisy_prompts = config.noisy_prompts,
                           .score_clean = !config.lora.drafts_only,  // nothing there learns
                           .clean_attention = clean_attention_of(config)};
  const NoiseKey key{config.seed, sample.draw};
  const Layout layout = training_layout(sample, config, block_size);
  std::vector<MaskedFlags> copies;
  if (config.stage == "convert") copies = draw_noise(sample.ids, layout, tokens.im_end, noise, key);
  Row row = make_row(sample, layout, copies, tokens, options);
  if (config.region_weight > 0) score_regions(row, sample);
  return row;
}

}  // namespace dvlm
