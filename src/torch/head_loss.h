// Cross entropy behind the head, without the logits of all rows at once.
#pragma once
#include <torch/torch.h>

namespace dvlm {

struct HeadLoss {
  torch::Tensor total;  // sum of weight * cross entropy, a scalar to differentiate
  torch::Tensor rows;   // f32 [rows]: each row's cross entropy in nats, without gradients
};

// hidden f32 [rows, width], head [vocab, width], targets int64 [rows], weights f32 [rows]. Logits are
// made for `chunk` rows at a time, in float whatever the network computes in; what is kept of them for the
// backward pass is the gradients, [rows, width] and [vocab, width].
HeadLoss head_loss(const torch::Tensor& hidden, const torch::Tensor& head, const torch::Tensor& targets,
                   const torch::Tensor& weights, int64_t chunk = 512);

}  // namespace dvlm
