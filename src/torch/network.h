// The Fast-dVLM network in LibTorch, for autograd: the same weights and names as the native model.
#pragma once
#include <torch/torch.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "image/preprocess.h"
#include "torch/towers.h"

namespace dvlm {

// One batch. B rows of L tokens each; shorter rows are padded and the mask keeps padding invisible.
struct NetworkInput {
  torch::Tensor tokens;     // int64 [B, L]
  torch::Tensor positions;  // int64 [3, B, L]: t, h, w
  torch::Tensor mask;       // bool [B, 1, L, L], true = query row may see key column; undefined = causal
  torch::Tensor patches;    // f32 [patches of all images, patch_elements]; undefined without images
  std::vector<Grid> grids;  // one per image, in the order of `patches`
  layers::AdapterUse adapters = {};  // see torch/lora.h
  torch::Tensor
      feature_rows;  // int64 [copies * merged tokens of all images]: b * L + l of the tokens that features
                     // replace: all of the first copy, in the order of the images, then of the next
};

class NetworkImpl : public torch::nn::Module {
 public:
  // Random weights: normal(0, initializer_range of each tower), residual projections that / sqrt(2 * layers),
  // biases 0, norms 1. The generator is LibTorch's: torch::manual_seed() first makes them repeatable.
  explicit NetworkImpl(const ModelConfig& config);

  // The type of linears and attention: kFloat32 (exact, the default) or kBFloat16 (fast). Weights, gradients,
  // norms and the stream between layers are f32 in both.
  void set_compute_type(torch::Dtype type);
  // Whether the layers of both towers keep their inputs alone between the passes, and run twice.
  void set_recompute(bool recompute);

  torch::Tensor encode_images(const torch::Tensor& patches, const std::vector<Grid>& grids,
                              const layers::AdapterUse& adapters = {});  // f32 [tokens, hidden]
  // What enters the text tower, f32 [B * L, hidden]: embeddings, and features at input.feature_rows.
  torch::Tensor embed(const NetworkInput& input);
  // After the final norm, f32 [B, L, hidden]; `embedded` is embed(input).
  torch::Tensor hidden(const NetworkInput& input, const torch::Tensor& embedded);
  torch::Tensor hidden(const NetworkInput& input) { return hidden(input, embed(input)); }
  // Rows of the stream as the head reads them: f32 [rows, hidden] after the final norm.
  torch::Tensor normed(const torch::Tensor& rows) { return text_->normed(rows, {}); }
  torch::Tensor head() const { return text_->head(); }  // f32 [vocab, hidden]
  // f32 [..., hidden] -> [..., vocab] in the compute type. Select the rows that are scored first: the head is
  // costly.
  torch::Tensor logits(const torch::Tensor& hidden);

  // Matrices in BF16 from now on, those of adapters aside: what they lose is the optimiser's to keep.
  void narrow_matrices();

  const ModelConfig& config() const { return config_; }
  towers::TextTower& text() { return text_; }
  const towers::TextTower& text() const { return text_; }
  // Every linear layer of both towers.
  std::vector<towers::LinearPart> linears() const;
  // Views of the parameters (no gradient history) under their checkpoint names, style B
  // ("model.layers.0.self_attn.q_proj.weight", "visual...."): writing to one writes to the parameter. The
  // parameters themselves, as parameters() and named_parameters() list them, are fused (q with k and v, gate
  // with up) and start with "text." or "vision.".
  NamedTensors named_weights() const;
  // Throws Error as Checkpoint::get, and for quantized checkpoints.
  void load(const Checkpoint& checkpoint);
  using torch::nn::Module::load;  // from an archive, which the one above would hide

 private:
  ModelConfig config_;
  torch::Dtype type_ = torch::kFloat32;
  towers::TextTower text_{nullptr};
  towers::VisionTower vision_{nullptr};
};
TORCH_MODULE(Network);

// A model on its way into a Hugging Face folder, which the call writes on any thread. What was on the CPU in
// the type that is written must stay as it is until then; everything else was copied.
using HeldModel = std::function<void(const std::filesystem::path& folder)>;

// Of these tensors, written as `file` in BF16 or F32 (Error for other types), and config files;
// preprocessor_config.json and generation_config.json stay where they are there.
HeldModel hold_tensors(const NamedTensors& tensors, DType type, const std::string& file,
                       const ModelConfig& config);

// All weights, in the names of the published form: style A for Fast-dVLM, style B for Qwen2.5-VL.
HeldModel hold_checkpoint(const Network& network, DType dtype);
void save_checkpoint(const std::filesystem::path& folder, const Network& network, DType dtype);

}  // namespace dvlm
