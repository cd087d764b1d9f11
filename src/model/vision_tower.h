// The vision tower: patches to language-model embeddings (docs/reference.md, Vision tower).
#pragma once
#include "kernels/attention.h"
#include "model/linears.h"
#include "model/model.h"
#include "model/rotary_table.h"
#include "model/weights.h"

namespace dvlm {

class VisionTower {
 public:
  VisionTower(const VisionConfig& config, VisionWeights weights, KeyFormat keys, ThreadPool& pool,
              LinearObserver observer);

  // Throws Error when the values do not fit the grid or the grid does not fit the configuration.
  ImageFeatures encode(const Patches& patches);

  size_t activation_bytes(int64_t patches) const;

 private:
  struct Picture;  // one picture's buffers and layout
  void embed_patches(const Patches& patches, Picture& p);
  void set_rotary(const Grid& grid, Picture& p);
  void block(const VisionBlock& weights, std::span<const int> boundaries, Picture& p);
  void store_keys(std::span<const int> boundaries, Picture& p);
  void attend(std::span<const int> boundaries, Picture& p);
  ImageFeatures merge(Picture& p);

  VisionConfig config_;
  VisionWeights weights_;
  HeadShape heads_;
  RotaryTable rotary_;
  AttentionScratch attention_;
  ThreadPool& pool_;
  Linears linear_;
};

}  // namespace dvlm
