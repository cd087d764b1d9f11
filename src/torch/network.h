// The Fast-dVLM network in LibTorch, for autograd: the same weights and names as the native model.
#pragma once
#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "image/preprocess.h"

namespace dvlm {

// One batch. B rows of L tokens each; shorter rows are padded and the mask keeps padding invisible.
struct NetworkInput {
  torch::Tensor tokens;        // int64 [B, L]
  torch::Tensor positions;     // int64 [3, B, L]: t, h, w
  torch::Tensor mask;          // bool [B, 1, L, L], true = query row may see key column; undefined = causal
  torch::Tensor patches;       // f32 [patches of all images, patch_elements]; undefined without images
  std::vector<Grid> grids;     // one per image, in the order of `patches`
  torch::Tensor feature_rows;  // int64 [merged tokens of all images]: b * L + l of the token that each feature replaces
};

class NetworkImpl : public torch::nn::Module {
 public:
  explicit NetworkImpl(const ModelConfig& config);  // random weights: normal(0, 0.02), biases 0, norms 1

  torch::Tensor encode_images(const torch::Tensor& patches, const std::vector<Grid>& grids);  // [tokens, hidden]
  torch::Tensor hidden(const NetworkInput& input);                                            // [B, L, hidden], after the final norm
  torch::Tensor logits(const torch::Tensor& hidden);                                          // [..., vocab]

  const ModelConfig& config() const { return config_; }
  // Parameters under their checkpoint names, style B ("model.layers.0.self_attn.q_proj.weight", "visual....").
  std::map<std::string, torch::Tensor> named_weights() const;
  void load(const Checkpoint& checkpoint);  // throws Error as Checkpoint::get

 private:
  ModelConfig config_;
};
TORCH_MODULE(Network);

// Writes weights as BF16 or F32 in the published (style A) names, plus config files, into a Hugging Face folder.
void save_checkpoint(const std::filesystem::path& folder, const Network& network, DType dtype);

}  // namespace dvlm
