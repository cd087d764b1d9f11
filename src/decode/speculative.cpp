// Linear self-speculation (spec 7.3): a bidirectional pass drafts a block, a causal pass over the same tokens
// verifies it. Every emitted token is what the causal pass picks behind an accepted prefix, so the text is
// AR's.
#include <algorithm>
#include <numeric>

#include "decode/base.h"

namespace dvlm {
namespace {

class Speculative final : public DecoderBase {
 public:
  Speculative(const Prompt& prompt, Sequence& sequence, const DecodeOptions& options)
      : DecoderBase(prompt, sequence, options),
        chooser_(options.kind == DecoderKind::automatic ? options.chooser : nullptr) {}

 private:
  void plan() override {
    if (!drafted_) begin_round();
    const auto rows = std::span<const int>(rows_);
    if (drafted_)
      set_pass(block_, Visibility::causal, rows);
    else  // row i drafts the token behind it, so the last row's logits are of no use
      set_pass(block_, Visibility::bidirectional, rows.first(rows.size() - 1), true);
  }

  void begin_round() {
    // A block of b emits at most b tokens; rows for more would be thrown away.
    const int most = std::min(options_.block_size, remaining());
    const auto size = static_cast<size_t>(chooser_ ? chooser_->choose(most) : most);
    if (chooser_) ++stats_.blocks[static_cast<int>(size)];
    block_.assign(size, options_.mask_token);
    block_[0] = last_;
    rows_.resize(size);
    std::iota(rows_.begin(), rows_.end(), 0);
    drafted_ = size == 1;  // nothing to draft
    ++stats_.rounds;
  }

  void absorb(const Logits& logits) override {
    if (drafted_)
      verify(logits);
    else
      draft(logits);
  }

  // The draft draws with the number that verification will use at the same position: the likelier a match.
  void draft(const Logits& logits) {
    for (int i = 1; i < static_cast<int>(block_.size()); ++i)
      block_[i] = sampler_.pick(logits.row(i - 1), committed() + i, draft_ban());
    drafted_ = true;
  }

  void verify(const Logits& logits) {
    const int size = static_cast<int>(block_.size()), start = committed() - size;
    int accepted = 0;  // inputs whose K/V are right
    bool going = true, matches = true;
    while (going && matches && accepted < size) {
      last_ = sampler_.pick(logits.row(accepted), start + accepted + 1);
      ++accepted;
      matches = accepted < size && last_ == block_[accepted];
      going = emit(last_);
    }
    sequence_.truncate(start + accepted);
    if (chooser_) chooser_->record(size, accepted - 1, matches);
    drafted_ = false;
  }

  std::shared_ptr<BlockChooser> chooser_;  // or null: blocks of one size
  bool drafted_ = false;                   // block_ holds a draft that waits for verification
  std::vector<TokenId> block_;             // last_ and the draft
  std::vector<int> rows_;
};

}  // namespace

std::unique_ptr<Decoder> make_speculative(const Prompt& prompt, Sequence& sequence,
                                          const DecodeOptions& options) {
  return std::make_unique<Speculative>(prompt, sequence, options);
}

}  // namespace dvlm
