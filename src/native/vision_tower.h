// The vision tower: patches to language-model embeddings (docs/reference.md, Vision tower).
#pragma once
#include "kernels/attention.h"
#include "model/model.h"
#include "model/picture_plan.h"
#include "model/rotary_table.h"
#include "native/linears.h"
#include "native/weights.h"

namespace dvlm {

class VisionTower {
 public:
  VisionTower(const VisionConfig& config, VisionWeights weights, KvType kv, ThreadPool& pool,
              LinearObserver observer);

  // Throws Error when the values do not fit the grid or the grid does not fit the configuration, and what
  // `watch`, which hears of every layer, throws.
  ImageFeatures encode(const Patches& patches, const LayerWatch& watch);

  size_t activation_bytes(int64_t patches) const;

 private:
  struct VisionActivations;  // one picture's buffers and layout
  void embed_patches(const Patches& patches, VisionActivations& p);
  void set_rotary(const PicturePlan& plan);
  void block(const LayerWeights& weights, std::span<const int> boundaries, VisionActivations& p);
  void store_kv(std::span<const int> boundaries, VisionActivations& p);
  ImageFeatures merge(VisionActivations& p);

  VisionConfig config_;
  VisionWeights weights_;
  HeadShape heads_;
  RotaryTable rotary_;
  AttentionScratch attention_;
  ThreadPool& pool_;
  Linears linear_;
};

}  // namespace dvlm
