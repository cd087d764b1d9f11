// One pass per token that is free (docs/reference.md, Autoregressive decoding).
#include <algorithm>
#include <numeric>

#include "decode/base.h"

namespace dvlm {
namespace {

class Autoregressive final : public DecoderBase {
 public:
  using DecoderBase::DecoderBase;

 private:
  // What a grammar leaves no choice for goes along: as many tokens as its row and the rows before it choose.
  void plan() override {
    block_.assign(1, last_);
    add_forced(block_, static_cast<size_t>(std::min(remaining(), 1 + kMaxForced)));
    rows_.resize(block_.size());
    std::iota(rows_.begin(), rows_.end(), 0);
    set_pass(PassKind::decode, block_, rows_);
  }

  void absorb(std::span<const Chosen> chosen) override {
    ++stats_.rounds;
    if (block_.size() > 1) {
      record_forced(block_);
      record_block(block_, static_cast<int>(block_.size()));
    }
    for (const Chosen& choice : chosen) emit(choice);
  }

  std::vector<TokenId> block_;
  std::vector<int> rows_;
};

}  // namespace

std::unique_ptr<Decoder> make_autoregressive(const Prompt& prompt, Sequence& sequence,
                                             const DecodeOptions& options, const DecodeContext& context) {
  return std::make_unique<Autoregressive>(prompt, sequence, options, context);
}

}  // namespace dvlm
