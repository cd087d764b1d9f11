// A checkpoint's weights in the order of the kernels, in device memory.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "cuda/device_array.h"
#include "model/load_progress.h"

namespace dvlm::cuda {

// The network's own numbers where the stored ones have another size.
int stored_hidden(int width);
int stored_intermediate(int width);
// A head's dimensions are padded half by half, so that those which turn together stay half a head apart; all
// heads together are the inputs of a linear layer. Throws Error for more than kernels know.
int stored_head_dim(int dim, int heads);

// Owns what the towers view.
struct Weights {
  TextTower text;
  std::optional<TextTower> draft;  // the same with linear layers in e4m3
  VisionTower vision;
  std::vector<DeviceArray<std::byte>> memory;
  size_t bytes = 0;
};

// Bytes that load_weights will take, and load_draft: 0 for a checkpoint in FP8, which drafts with what it
// has.
size_t weight_bytes(const Checkpoint& checkpoint);
size_t draft_bytes(const Checkpoint& checkpoint);

// Linear layers are bf16, or e4m3 where the checkpoint holds F8_E4M3 with a scale per output; a tower's must
// agree. Layers that other tools packed (checkpoint/grouped.h) become bf16.
// Rows are put in order by `threads` (0: all cores). Throws Error for tensors that are missing, misshapen or
// of another type, and after Ctrl-C.
Weights load_weights(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device, int threads,
                     LoadProgress& progress);

// Adds Weights::draft to those of a checkpoint whose text tower is wide: its linear layers rounded as `dvlm
// quantize` does without calibration; norms, biases, embedding and head are the tower's own.
void load_draft(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device, int threads,
                LoadProgress& progress, Weights& out);

}  // namespace dvlm::cuda
