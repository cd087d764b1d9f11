// The two halves of the network. Weights that are always multiplied together (q, k, v; gate, up) are one
// parameter.
#pragma once
#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "image/preprocess.h"
#include "torch/block.h"
#include "torch/layers.h"

namespace dvlm {
using NamedTensors = std::map<std::string, torch::Tensor>;
}  // namespace dvlm

namespace dvlm::towers {

// A linear layer of a checkpoint, and the outputs that are its where several are one product.
struct LinearPart {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  torch::nn::Module* owner;
  layers::Linear* linear;
  int64_t first, outputs;
};

// Parameters of adapters, which torch/lora.h adds, have names of their own.
inline bool is_adapter(const std::string& parameter) {
  return parameter.find("lora_") != std::string::npos;
}

class TextLayerImpl : public Block {
 public:
  explicit TextLayerImpl(const TextConfig& config);
  void name_weights(const std::string& prefix, NamedTensors& names) const;  // those of no linear layer
  void list_linears(const std::string& prefix, std::vector<LinearPart>& parts);

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
                    torch::Dtype type, const layers::AdapterUse& adapters = {});
  // The final norm of x + delta (delta may be undefined), f32 [rows, hidden].
  torch::Tensor normed(const torch::Tensor& x, const torch::Tensor& delta) const;
  // Whether layers keep their inputs alone and run again for their gradients (block.h).
  void set_recompute(bool recompute) { recompute_ = recompute; }
  torch::Tensor head() const;  // [vocab, hidden]
  // From now on this token has a row of its own, a parameter that begins as the embedding's, which is frozen;
  // `in_head`: embed() puts it there, too, so that a head that is the embedding has it, without a gradient.
  void add_token_row(int64_t token, bool in_head);
  int64_t own_token() const { return own_token_; }           // -1: none
  const torch::Tensor& own_row() const { return own_row_; }  // [1, hidden]
  void name_weights(NamedTensors& names) const;              // those of no linear layer
  std::vector<LinearPart> linears() const;

 private:
  TextConfig config_;
  torch::Tensor embedding_, norm_, head_;
  torch::Tensor own_row_;
  int64_t own_token_ = -1;
  bool own_in_head_ = false;
  std::vector<TextLayer> layers_;
  bool recompute_ = false;
};
TORCH_MODULE(TextTower);

// Cosine and sine of M-RoPE (docs/reference.md, M-RoPE): positions int64 [3, rows] -> f32
// [rows, head_dim / 2] each.
std::pair<torch::Tensor, torch::Tensor> text_rotary(const torch::Tensor& positions, const TextConfig& config);

class VisionBlockImpl : public Block {
 public:
  explicit VisionBlockImpl(const VisionConfig& config);
  void name_weights(const std::string& prefix, NamedTensors& names) const;  // as a TextLayer's
  void list_linears(const std::string& prefix, std::vector<LinearPart>& parts);

 private:
  int64_t mlp_rows_;
};
TORCH_MODULE(VisionBlock);

class VisionTowerImpl : public torch::nn::Module {
 public:
  explicit VisionTowerImpl(const VisionConfig& config);

  // patches f32 [patches, patch_elements] of all grids -> f32 [merged tokens, out_hidden_size], in the grids'
  // order.
  torch::Tensor run(const torch::Tensor& patches, const std::vector<Grid>& grids, torch::Dtype type,
                    const layers::AdapterUse& adapters = {});
  void set_recompute(bool recompute) { recompute_ = recompute; }  // as a TextTower's
  void name_weights(NamedTensors& names) const;                   // likewise
  std::vector<LinearPart> linears();

 private:
  VisionConfig config_;
  torch::Tensor patch_weight_, norm_;
  layers::Linear merge_in_, merge_out_;
  std::vector<VisionBlock> blocks_;
  bool recompute_ = false;
};
TORCH_MODULE(VisionTower);

// Cosine and sine of the 2-D rotary embedding (docs/reference.md, Vision rotary) in the order of the patches:
// f32 [patches, head_dim / 2] each.
std::pair<torch::Tensor, torch::Tensor> vision_rotary(const std::vector<Grid>& grids,
                                                      const VisionConfig& config);

}  // namespace dvlm::towers
