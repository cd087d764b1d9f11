// The two halves of the network. Weights that are always multiplied together (q, k, v; gate, up) are one
// parameter.
#pragma once
#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "image/preprocess.h"

namespace dvlm {
using NamedTensors = std::map<std::string, torch::Tensor>;
}  // namespace dvlm

namespace dvlm::towers {

class TextLayerImpl : public torch::nn::Module {
 public:
  explicit TextLayerImpl(const TextConfig& config);
  void name_weights(const std::string& prefix, NamedTensors& names) const;

  torch::Tensor input_norm, qkv_weight, qkv_bias, o_weight, post_norm, gate_up_weight, down_weight;

 private:
  int64_t query_rows_, key_rows_, mlp_rows_;
};
TORCH_MODULE(TextLayer);

class TextTowerImpl : public torch::nn::Module {
 public:
  explicit TextTowerImpl(const TextConfig& config);

  torch::Tensor embed(const torch::Tensor& tokens);  // int64 [rows] -> f32 [rows, hidden]
  // embedded: f32 [B * L, hidden]; positions int64 [3, B, L]; mask bool [B, 1, L, L], undefined = causal. The
  // stream between layers stays f32; linears and attention run in `type`. Result f32 [B * L, hidden], after
  // the final norm.
  torch::Tensor run(torch::Tensor embedded, const torch::Tensor& positions, const torch::Tensor& mask,
                    torch::Dtype type);
  // The final norm of x + delta (delta may be undefined), f32 [rows, hidden].
  torch::Tensor normed(const torch::Tensor& x, const torch::Tensor& delta) const;
  // Whether layers keep their inputs alone and run again for their gradients (recompute.h).
  void set_recompute(bool recompute) { recompute_ = recompute; }
  torch::Tensor head() const;  // [vocab, hidden]
  const std::vector<TextLayer>& layers() const { return layers_; }
  const torch::Tensor& norm() const { return norm_; }  // [hidden], before the head
  void name_weights(NamedTensors& names) const;

 private:
  TextConfig config_;
  torch::Tensor embedding_, norm_, head_;
  std::vector<TextLayer> layers_;
  bool recompute_ = false;
};
TORCH_MODULE(TextTower);

// Cosine and sine of M-RoPE (docs/reference.md, M-RoPE): positions int64 [3, rows] -> f32
// [rows, head_dim / 2] each.
std::pair<torch::Tensor, torch::Tensor> text_rotary(const torch::Tensor& positions, const TextConfig& config);

class VisionBlockImpl : public torch::nn::Module {
 public:
  explicit VisionBlockImpl(const VisionConfig& config);
  void name_weights(const std::string& prefix, NamedTensors& names) const;

  torch::Tensor norm1, qkv_weight, qkv_bias, proj_weight, proj_bias, norm2;
  torch::Tensor gate_up_weight, gate_up_bias, down_weight, down_bias;

 private:
  int64_t mlp_rows_;
};
TORCH_MODULE(VisionBlock);

class VisionTowerImpl : public torch::nn::Module {
 public:
  explicit VisionTowerImpl(const VisionConfig& config);

  // patches f32 [patches, patch_elements] of all grids -> f32 [merged tokens, out_hidden_size], in the grids'
  // order.
  torch::Tensor run(const torch::Tensor& patches, const std::vector<Grid>& grids, torch::Dtype type);
  void set_recompute(bool recompute) { recompute_ = recompute; }  // as a TextTower's
  void name_weights(NamedTensors& names) const;

 private:
  VisionConfig config_;
  torch::Tensor patch_weight_, norm_, merge_weight0_, merge_bias0_, merge_weight2_, merge_bias2_;
  std::vector<VisionBlock> blocks_;
  bool recompute_ = false;
};
TORCH_MODULE(VisionTower);

// Cosine and sine of the 2-D rotary embedding (docs/reference.md, Vision rotary) in the order of the patches:
// f32 [patches, head_dim / 2] each.
std::pair<torch::Tensor, torch::Tensor> vision_rotary(const std::vector<Grid>& grids,
                                                      const VisionConfig& config);

}  // namespace dvlm::towers
