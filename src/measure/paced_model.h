// What one model says, at the pace of another: how long the answers of a small model that knows something
// would take at a shape for which there are no weights at hand.
#pragma once
#include <memory>
#include <vector>

#include "model/model.h"

namespace dvlm {

// Every pass is made by both models; answers, pictures and the configuration are those of `says`. `paces`
// chooses its own tokens, unheard, from its whole vocabulary. Both must outlive this.
class PacedModel final : public Model {
 public:
  PacedModel(Model& says, Model& paces) : says_(says), paces_(paces) {}

  const ModelConfig& config() const override { return says_.config(); }
  ImageFeatures encode_image(const Patches& patches) override { return says_.encode_image(patches); }
  std::unique_ptr<Sequence> new_sequence(int capacity) override;
  WeightMemory weight_memory() const override { return paces_.weight_memory(); }
  std::span<const Chosen> forward(std::span<const Segment> segments) override;

 private:
  Model &says_, &paces_;
  std::vector<Segment> said_, paced_;
  std::vector<std::vector<Wanted>> wanted_;
};

}  // namespace dvlm
