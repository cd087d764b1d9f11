// One pass per token (docs/reference.md, Autoregressive decoding).
#include "decode/base.h"

namespace dvlm {
namespace {

class Autoregressive final : public DecoderBase {
 public:
  using DecoderBase::DecoderBase;

 private:
  void plan() override { set_pass(PassKind::decode, {&last_, 1}, rows_); }

  void absorb(std::span<const Chosen> chosen) override {
    ++stats_.rounds;
    emit(chosen[0]);
  }

  const std::vector<int> rows_ = {0};
};

}  // namespace

std::unique_ptr<Decoder> make_autoregressive(const Prompt& prompt, Sequence& sequence,
                                             const DecodeOptions& options, const DecodeContext& context) {
  return std::make_unique<Autoregressive>(prompt, sequence, options, context);
}

}  // namespace dvlm
