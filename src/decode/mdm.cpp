// Masked diffusion with a confidence threshold (docs/reference.md, Masked diffusion): sub-block by sub-block,
// left to right, bidirectional passes over the whole block unmask what the model is sure of; a causal pass
// commits the block and gives the next first token.
#include <algorithm>

#include "decode/base.h"

namespace dvlm {
namespace {

class MaskedDiffusion final : public DecoderBase {
 public:
  using DecoderBase::DecoderBase;

 private:
  void plan() override {
    if (block_.empty()) begin_block();
    rows_.clear();
    const int size = static_cast<int>(block_.size());
    if (final_ == size) {
      rows_.push_back(size - 1);
      set_pass(PassKind::commit, block_, rows_);
      return;
    }
    // The sub-block of the first masked position; by the token shift, row i - 1 predicts position i.
    const int first = final_ / options_.sub_block * options_.sub_block;
    for (int i = final_; i < std::min(first + options_.sub_block, size); ++i)
      if (masked_[i]) rows_.push_back(i - 1);
    set_pass(PassKind::denoise, block_, rows_);
  }

  void begin_block() {
    // Every row of a block is seen by the others, so the text depends on its size: it shrinks where the model
    // has no positions left, never because of max_tokens (a larger max_tokens must only continue the text).
    const auto size = static_cast<size_t>(std::min(options_.block_size, room()));
    block_.assign(size, options_.mask_token);
    block_[0] = last_;
    masked_.assign(size, true);  // a map, not a comparison of ids: the text itself may hold the mask token
    masked_[0] = false;
    final_ = 1;
    step_ = 0;
    ++stats_.rounds;
  }

  void absorb(const Logits& logits) override {
    if (final_ < static_cast<int>(block_.size()))
      denoise(logits);
    else
      commit(logits);
  }

  void denoise(const Logits& logits) {
    ++step_;
    const auto threshold = static_cast<float>(options_.threshold);
    int surest = -1;
    Choice surest_choice;
    bool unmasked = false;
    for (size_t k = 0; k < rows_.size(); ++k) {
      const int i = rows_[k] + 1;
      const Choice choice =
          sampler_.choose(logits.row(static_cast<int>(k)), committed() + i, draft_ban(), step_);
      if (choice.probability > threshold) {
        unmask(i, choice.token);
        unmasked = true;
      }
      if (surest < 0 || choice.probability > surest_choice.probability) {
        surest = i;
        surest_choice = choice;
      }
    }
    if (!unmasked) unmask(surest, surest_choice.token);
    // A token is never masked again: what has no mask before it is text. A stop token there ends the text at
    // once.
    const int size = static_cast<int>(block_.size());
    while (final_ < size && !masked_[final_])
      if (!emit(block_[final_++], {})) break;
    record_block(block_, final_);
  }

  void unmask(int i, TokenId token) {
    block_[i] = token;
    masked_[i] = false;
  }

  void commit(const Logits& logits) {
    last_ = sampler_.pick(logits.row(0), committed());
    emit(last_, {});
    record_block(block_, static_cast<int>(block_.size()));
    block_.clear();
  }

  std::vector<TokenId> block_;  // empty between blocks
  std::vector<bool> masked_;
  int final_ = 0;  // leading positions without a mask
  uint64_t step_ =
      0;  // denoising passes of this block: the stream of its random numbers, 0 being the causal pass's
  std::vector<int> rows_;
};

}  // namespace

std::unique_ptr<Decoder> make_masked_diffusion(const Prompt& prompt, Sequence& sequence,
                                               const DecodeOptions& options) {
  return std::make_unique<MaskedDiffusion>(prompt, sequence, options);
}

}  // namespace dvlm
