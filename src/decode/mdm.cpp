// Masked diffusion with a confidence threshold (docs/reference.md, Masked diffusion): sub-block by sub-block,
// left to right, bidirectional passes over the whole block unmask what the model is sure of; a causal pass
// commits the block and gives the next first token (bidirectional where the model has block attention).
#include <algorithm>

#include "decode/base.h"
#include "model/choose.h"

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
    ++denoise_stream_;
    set_pass(PassKind::denoise, block_, rows_);
  }

  void begin_block() {
    // Every row of a block is seen by the others, so the text depends on its size: it shrinks where the model
    // has no positions left, never because of max_tokens (a larger max_tokens must only continue the text).
    const auto size = static_cast<size_t>(std::min(options_.block_size, room()));
    block_.assign(size, context_.mask_token);
    block_[0] = last_;
    masked_.assign(size, true);  // a map, not a comparison of ids: the text itself may hold the mask token
    masked_[0] = false;
    final_ = 1;
    denoise_stream_ = 0;  // that of the causal pass
    ++stats_.rounds;
  }

  void absorb(std::span<const Chosen> chosen) override {
    if (final_ < static_cast<int>(block_.size()))
      denoise(chosen);
    else
      commit(chosen[0]);
  }

  void denoise(std::span<const Chosen> chosen) {
    const auto threshold = static_cast<float>(options_.threshold);
    size_t surest = 0;
    bool unmasked = false;
    for (size_t k = 0; k < chosen.size(); ++k) {
      check_valid(chosen[k]);
      if (chosen[k].probability > threshold) {
        unmask(rows_[k] + 1, chosen[k].token);
        unmasked = true;
      }
      if (chosen[k].probability > chosen[surest].probability) surest = k;
    }
    if (!unmasked) unmask(rows_[surest] + 1, chosen[surest].token);
    // A token is never masked again: what has no mask before it is text. A stop token there ends the text at
    // once.
    const int size = static_cast<int>(block_.size());
    while (final_ < size && !masked_[final_])
      if (!emit(block_[final_++])) break;
    record_block(block_, final_);
  }

  void unmask(int i, TokenId token) {
    block_[i] = token;
    masked_[i] = false;
  }

  void commit(const Chosen& chosen) {
    emit(chosen);
    record_block(block_, static_cast<int>(block_.size()));
    block_.clear();
  }

  std::vector<TokenId> block_;  // empty between blocks
  std::vector<bool> masked_;
  int final_ = 0;  // leading positions without a mask
  std::vector<int> rows_;
};

}  // namespace

std::unique_ptr<Decoder> make_masked_diffusion(const Prompt& prompt, Sequence& sequence,
                                               const DecodeOptions& options, const DecodeContext& context) {
  return std::make_unique<MaskedDiffusion>(prompt, sequence, options, context);
}

}  // namespace dvlm
