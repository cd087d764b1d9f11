// A Hugging Face model folder: configuration and weights under one naming style.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config.h"
#include "checkpoint/grouped.h"
#include "checkpoint/safetensors.h"

namespace dvlm {

class Lora;
class MergedTensors;

// Tensor names are normalised to style B of Qwen2.5-VL: "model.layers.0...", "visual.blocks.0...",
// "lm_head.weight" (style A: "model.language_model.*", "model.visual.*"; Qwen2_5_VLModel alone:
// "language_model.*", "visual.*"). rotary_emb.inv_freq is skipped.
class Checkpoint {
 public:
  // Maps model.safetensors, or every shard named by model.safetensors.index.json. Throws Error naming the
  // file, also for what other tools wrote and would change answers if it were ignored (checkpoint/foreign.h);
  // other tensors that nobody reads are warned of. Its config() says tie_word_embeddings where the two are
  // one.
  explicit Checkpoint(const std::filesystem::path& folder);

  // An assembled one. The tensors, named in style B, must lie in mapped files that outlive it.
  Checkpoint(ModelConfig config, std::map<std::string, TensorView> tensors);

  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  // Merges an adapter into the weights, unless that is for drafts only. Where the adapter's folder has a
  // config.json, that says what the model is for: its architecture, blocks and attention; a preprocessor
  // there replaces the model's. One adapter may be merged. Throws Error when it is for another model.
  void add(const Lora& lora);

  const std::filesystem::path& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }
  // What distinguishes its files from others: the text of config.json, and name, size, inode and time of
  // change of every shard. Empty for an assembled one.
  const std::string& identity() const { return identity_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

  bool has(std::string_view name) const;
  // The tensor, checked: throws Error naming tensor, expected and found shape.
  const TensorView& get(std::string_view name, const std::vector<int64_t>& shape) const;
  // The scales of a linear layer that is_quantized(): F32, F16 or BF16, [outputs] or [outputs, 1]
  // (docs/reference.md, FP8 checkpoint).
  const TensorView& scale(std::string_view linear) const;
  // Whether this weight of a linear layer has scales for groups of inputs, and the layer's [outputs, inputs];
  // none when it has not.
  bool is_grouped(std::string_view weight) const;
  std::optional<GroupedWeight> grouped(std::string_view linear, int64_t outputs, int64_t inputs) const;
  // Throws Error where this linear layer is in codes and another that reads the same input (first_of_input())
  // is not, or is in others: they are multiplied as one.
  void check_shared_input(std::string_view linear) const;
  // The tensor that projects to logits [vocab, hidden]: the embedding when tied, else lm_head.weight
  // (docs/reference.md, Tied head).
  const TensorView& head() const;

  // Every expected tensor that is missing or misshapen, as sentences; empty when sound.
  std::vector<std::string> problems() const;
  std::vector<std::string> unused() const;  // names of tensors that nobody reads, sorted

 private:
  void refuse_foreign_tensors() const;
  void settle_head();
  void warn_of_unused() const;
  // The weight that this tensor of grouped_endings() is a part of; "" for any other.
  std::string grouped_weight_of(std::string_view name) const;
  std::string problem_of_grouped(const std::string& name, const std::vector<int64_t>& shape) const;
  std::string problem_of_scale(const std::string& weight) const;  // that is quantized; "" when sound
  std::string problem_of_type(const std::string& name, const TensorView& tensor) const;  // "" when sound
  std::string problem_of_shared_input(std::string_view weight) const;                    // "" when sound
  std::filesystem::path folder_;
  std::string identity_;
  ModelConfig config_;
  std::optional<GroupedFormat> grouped_format_;
  std::vector<std::unique_ptr<Safetensors>> shards_;
  std::unique_ptr<MergedTensors> merged_;
  std::map<std::string, TensorView> tensors_;
};

// Codes, which mean nothing without their scales: W8A8 in FP8 or in integers.
constexpr bool is_quantized(const TensorView& weight) {
  return weight.type == DType::f8_e4m3 || weight.type == DType::i8;
}

std::string normalised_name(std::string_view name);  // style A or B -> style B
std::string published_name(
    std::string_view name);  // style B -> style A, the style that Fast_dVLM_3B is published in

// Of the linear layers that read the same input as this one, and are multiplied with it as one: the name of
// the first.
std::string first_of_input(std::string_view linear);

// Names and shapes of every weight that a model of this configuration has, style B.
std::map<std::string, std::vector<int64_t>> expected_tensors(const ModelConfig& config);

}  // namespace dvlm
