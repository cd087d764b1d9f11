// What a configuration makes of a sample.
#pragma once
#include "train/batch.h"
#include "train/config.h"

namespace dvlm {

CleanAttention clean_attention_of(const TrainConfig& config);

// How its answers fall into blocks of `block_size`.
Layout training_layout(const Sample& sample, const TrainConfig& config, int block_size);

// The row of one sample in blocks of `block_size`. What is hidden depends on the seed and the sample's draw
// alone.
Row training_row(const Sample& sample, const TrainConfig& config, const StreamTokens& tokens, int block_size);

}  // namespace dvlm
