// LoRA adapters (Hu et al., ICLR 2022) as PEFT writes them: adapter_config.json and
// adapter_model.safetensors.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace dvlm {

// Who draft with an adapter alone say so by this key of adapter_config.json, which PEFT warns of.
inline constexpr const char* kDraftsOnly = "dvlm_drafts_only";

class Lora {
 public:
  // Of one linear layer: scale * B (A x) is added to its output.
  struct Linear {
    TensorView a, b;  // [rank, inputs], [outputs, rank]; F32, F16 or BF16
    double scale = 1;
  };

  // Throws Error naming the file for whatever would change answers and is not read: other kinds of adapters
  // (DoRA, biases, whole modules), tensors without their other half.
  explicit Lora(const std::filesystem::path& folder);

  // Whether it is for drafts and denoising alone, the noisy copies of training (docs/lora.md): trained for
  // that, or used so. What the model verifies and commits is then computed without it.
  bool drafts_only() const { return drafts_only_; }
  void use_for_drafts() { drafts_only_ = true; }

  const std::filesystem::path& folder() const { return folder_; }
  // By the layer's name in style B, such as "model.layers.0.self_attn.q_proj".
  const std::map<std::string, Linear>& linears() const { return linears_; }
  // Rows of the embedding that replace the model's ("trainable_token_indices"): [tokens, hidden].
  const std::vector<int64_t>& tokens() const { return tokens_; }
  const TensorView& token_rows() const { return token_rows_; }
  const std::string& identity() const { return identity_; }  // as Checkpoint's

  // Throws Error when it is not one for such a model.
  void check(const ModelConfig& config) const;

 private:
  void read_config();
  void set_once(TensorView& place, const TensorView& tensor, const std::string& name) const;
  void read_tensors();

  std::filesystem::path folder_;
  std::string identity_;
  std::unique_ptr<Safetensors> file_;
  double alpha_ = 1;
  bool root_ = false;  // alpha is divided by the root of the rank (rsLoRA)
  bool drafts_only_ = false;
  std::map<std::string, Linear> linears_;
  std::vector<int64_t> tokens_;
  TensorView token_rows_;
};

// Tensors of a checkpoint with an adapter added to them, of the types that they had.
class MergedTensors {
 public:
  // `tensors` by their names in style B, for which check() has found the adapter right. Throws Error for
  // weights that take none, and when memory is short.
  MergedTensors(const Lora& lora, std::map<std::string, TensorView>& tensors);
  ~MergedTensors();
  MergedTensors(const MergedTensors&) = delete;
  MergedTensors& operator=(const MergedTensors&) = delete;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dvlm
