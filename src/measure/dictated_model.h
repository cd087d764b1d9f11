// A model that writes a text which is given: what its own text would have cost, had it been this one.
#pragma once
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "model/model.h"

namespace dvlm {

// Rows that decide choose the text's tokens, whatever `model` thinks of them; drafts are the model's own. It
// must outlive this.
class DictatedModel final : public Model {
 public:
  // `prompt`: tokens before the text.
  DictatedModel(Model& model, int prompt, std::vector<TokenId> text)
      : model_(model), prompt_(prompt), text_(std::move(text)) {}

  const ModelConfig& config() const override { return model_.config(); }
  ImageFeatures encode_image(const Patches& patches) override { return model_.encode_image(patches); }
  std::unique_ptr<Sequence> new_sequence(int capacity) override { return model_.new_sequence(capacity); }
  std::span<const Chosen> forward(std::span<const Segment> segments) override;

 private:
  Model& model_;
  const int prompt_;
  const std::vector<TokenId> text_;
  std::vector<Chosen> chosen_;
};

}  // namespace dvlm
