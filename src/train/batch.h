// From samples to what the network reads and the rows that the loss scores.
#pragma once
#include <torch/torch.h>

#include <span>
#include <vector>

#include "torch/network.h"
#include "train/dataset.h"
#include "train/masks.h"
#include "train/noise.h"

namespace dvlm {

// Special tokens that streams are built from; mask -1 where the tokenizer has none (next-token training
// only).
struct StreamTokens {
  TokenId mask = -1, im_end = 0, pad = 0;
  TokenId image = 0, video = 0, vision_start = 0;
};
// Throws Error when the tokenizer lacks one.
StreamTokens stream_tokens(const Tokenizer& tokenizer, const ModelConfig& config);

// One row of a batch: [noisy copies... | clean].
struct Row {
  struct Scored {
    int at = 0;  // token of this row whose logits are scored
    TokenId target = 0;
    bool operator==(const Scored&) const = default;
  };
  std::vector<TokenId> tokens;
  std::vector<Position> positions;
  std::vector<StreamToken> stream;
  CleanAttention clean_attention = CleanAttention::causal;
  std::vector<std::vector<int>> features;  // of each stream that has them: tokens that they replace
  std::vector<Scored> noisy, clean;
  std::vector<Scored> regions;  // image tokens of the clean stream whose features are scored against a word
};

struct RowOptions {
  bool vision_efficient = true;  // noisy copies drop image, video and vision_start tokens
  bool noisy_prompts = true;     // false: noisy copies hold answers only
  bool score_clean = true;
  CleanAttention clean_attention = CleanAttention::causal;
};

// Each element of `copies` adds one noisy copy before the clean stream. Scores follow the token shift: the
// logits of a token are scored against the next token of its own stream, noisy ones where that is masked,
// clean ones where it belongs to an answer and the token does not see it: all of an answer with causal
// attention, the first token of each block with block attention. Without copies, and causal, this is an
// ordinary autoregressive row.
Row make_row(const Sample& sample, const Layout& layout, std::span<const MaskedFlags> copies,
             const StreamTokens& tokens, const RowOptions& options);

// Scores the features of each image token that regions cover against every word of theirs.
void score_regions(Row& row, const Sample& sample);

struct TrainBatch {
  NetworkInput input;
  torch::Tensor noisy_rows,
      noisy_targets;  // int64 [n]: row b * L + l of the flattened hidden states, and its token
  torch::Tensor clean_rows, clean_targets;
  torch::Tensor region_rows, region_targets;
  torch::Tensor copy_rows;    // int64: all tokens of noisy copies
  int64_t answer_tokens = 0;  // tokens that carry a label, each counted once
};

int64_t padded_length(int64_t longest);  // of a batch whose longest row has so many tokens

// Pads rows on the right to a common length, see padded_length(); padding sees itself only. Causal rows
// without noisy copies need no mask.
TrainBatch collate(std::span<const Row> rows, std::span<const Sample> samples, TokenId pad);

// The same batch with its tensors there.
TrainBatch on_device(TrainBatch batch, torch::Device device);

}  // namespace dvlm
