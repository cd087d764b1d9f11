#include "checkpoint/checkpoint.h"

#include <fmt/ranges.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <set>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kText = "model.language_model.", kVision = "model.visual.";

std::vector<fs::path> shard_files(const fs::path& folder) {
  const fs::path index = folder / "model.safetensors.index.json", single = folder / "model.safetensors";
  if (!fs::exists(index)) {
    if (fs::exists(single)) return {single};
    fail("{} holds neither model.safetensors nor model.safetensors.index.json", folder.string());
  }
  const nlohmann::json file = read_json(index);
  const JsonObject top(file, index.string());
  const nlohmann::json* map = top.find("weight_map");
  if (!map || !map->is_object())
    fail("{}: the key \"weight_map\" is missing or not an object", index.string());
  std::set<fs::path> files;
  for (const auto& [tensor, name] : map->items()) {
    // A name with a folder in it could point anywhere on the disk.
    if (!name.is_string() || fs::path(name.get<std::string>()).filename() != name.get<std::string>())
      fail("{}: the file of tensor {} is not a plain file name", index.string(), printable(tensor));
    files.insert(folder / name.get<std::string>());
  }
  for (const fs::path& shard : files)
    if (!fs::exists(shard)) fail("{} names {}, which is missing", index.string(), shard.filename().string());
  return {files.begin(), files.end()};
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.type == b.type && a.shape == b.shape && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

std::string normalised_name(std::string_view name) {
  if (name.starts_with(kText)) return "model." + std::string(name.substr(kText.size()));
  if (name.starts_with(kVision)) return "visual." + std::string(name.substr(kVision.size()));
  return std::string(name);
}

std::string published_name(std::string_view name) {
  if (name.starts_with("visual.")) return "model." + std::string(name);
  if (name.starts_with("model.")) return std::string(kText) + std::string(name.substr(6));
  return std::string(name);
}

Checkpoint::Checkpoint(const fs::path& folder) : folder_(folder), config_(read_config(folder)) {
  identity_ = read_file(folder / "config.json");
  for (const fs::path& file : shard_files(folder)) {
    struct stat status = {};
    if (::stat(file.c_str(), &status) == 0)
      identity_ += fmt::format("{} {} {} {}.{:09}\n", file.filename().string(), status.st_size, status.st_ino,
                               status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    shards_.push_back(std::make_unique<Safetensors>(file));
    for (const auto& [name, tensor] : shards_.back()->tensors()) {
      const std::string normal = normalised_name(name);
      if (normal.ends_with("rotary_emb.inv_freq")) continue;
      if (!tensors_.emplace(normal, tensor).second)
        fail("{}: tensor {} occurs twice (also under its other name, or in another shard)", file.string(),
             printable(name));
    }
  }
  if (config_.text.tie_word_embeddings && has("lm_head.weight") && has("model.embed_tokens.weight") &&
      !same_bytes(tensors_["lm_head.weight"], tensors_["model.embed_tokens.weight"]))
    log_warning(
        "{}: tie_word_embeddings is true but lm_head.weight differs from the embedding; the embedding is "
        "used for both",
        folder.string());
}

Checkpoint::Checkpoint(ModelConfig config, std::map<std::string, TensorView> tensors)
    : config_(std::move(config)), tensors_(std::move(tensors)) {}

bool Checkpoint::has(std::string_view name) const {
  return tensors_.count(std::string(name)) != 0;
}

const TensorView& Checkpoint::get(std::string_view name, const std::vector<int64_t>& shape) const {
  const auto it = tensors_.find(std::string(name));
  if (it == tensors_.end()) fail("{}: tensor {} is missing", folder_.string(), name);
  if (it->second.shape != shape)
    fail("{}: tensor {} has shape {}, but config.json asks for {}", folder_.string(), name,
         to_string(it->second.shape), to_string(shape));
  return it->second;
}

const TensorView& Checkpoint::head() const {
  const std::vector<int64_t> shape = {config_.text.vocab_size, config_.text.hidden_size};
  return get(config_.text.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", shape);
}

namespace {

bool is_number(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

bool per_row(const TensorView& scale, int64_t rows) {
  const auto& shape = scale.shape;
  return is_number(scale.type) && !shape.empty() && shape[0] == rows &&
         (shape.size() == 1 || (shape.size() == 2 && shape[1] == 1));
}

// Everything but linear layers stays wide in W8A8 (docs/reference.md, FP8 checkpoint).
bool may_be_fp8(std::string_view name) {
  return name.ends_with(".weight") && name.find("norm") == name.npos && name.find("ln_q") == name.npos &&
         !name.ends_with("embed_tokens.weight") && name != "lm_head.weight" &&
         name != "visual.patch_embed.proj.weight";
}

}  // namespace

const TensorView& Checkpoint::scale(std::string_view linear) const {
  const std::string weight = std::string(linear) + ".weight";
  if (const std::string problem = problem_of_scale(weight); !problem.empty())
    fail("{}: {}", folder_.string(), problem);
  return tensors_.at(weight + "_scale");
}

std::string Checkpoint::problem_of_scale(const std::string& weight) const {
  const auto scale = tensors_.find(weight + "_scale");
  if (scale == tensors_.end())
    return fmt::format("tensor {} is F8_E4M3 but {}_scale is missing", weight, weight);
  const int64_t rows = tensors_.at(weight).shape.at(0);
  if (per_row(scale->second, rows)) return "";
  return fmt::format("tensor {}_scale is {} {}, expected F32, F16 or BF16 [{}] or [{}, 1]", weight,
                     name_of(scale->second.type), to_string(scale->second.shape), rows, rows);
}

// Weights are F32, F16 or BF16; those of linear layers may be F8_E4M3 beside one scale per row.
std::string Checkpoint::problem_of_type(const std::string& name, const TensorView& tensor) const {
  if (is_number(tensor.type)) return "";
  const bool fp8 = may_be_fp8(name);
  if (tensor.type != DType::f8_e4m3 || !fp8)
    return fmt::format("tensor {} is {}, expected F32, F16{}", name, name_of(tensor.type),
                       fp8 ? ", BF16 or F8_E4M3" : " or BF16");
  return problem_of_scale(name);
}

std::vector<std::string> Checkpoint::problems() const {
  std::vector<std::string> out;
  const auto expected = expected_tensors(config_);
  for (const auto& [name, shape] : expected) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end())
      out.push_back(fmt::format("tensor {} {} is missing", name, to_string(shape)));
    else if (it->second.shape != shape)
      out.push_back(fmt::format("tensor {} has shape {}, expected {}", name, to_string(it->second.shape),
                                to_string(shape)));
    else if (const std::string problem = problem_of_type(name, it->second); !problem.empty())
      out.push_back(problem);
  }
  for (const auto& [name, tensor] : tensors_) {
    const bool scale =
        name.ends_with(".weight_scale") && expected.count(name.substr(0, name.size() - 6)) != 0;
    const bool tied_head = name == "lm_head.weight" && config_.text.tie_word_embeddings;
    if (!expected.count(name) && !scale && !tied_head)
      out.push_back(fmt::format("tensor {} {} is not used by this architecture", printable(name),
                                to_string(tensor.shape)));
  }
  return out;
}

std::map<std::string, std::vector<int64_t>> expected_tensors(const ModelConfig& config) {
  const TextConfig& text = config.text;
  const VisionConfig& vision = config.vision;
  std::map<std::string, std::vector<int64_t>> out;
  const auto linear = [&](const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
    out[name + ".weight"] = {outputs, inputs};
    if (bias) out[name + ".bias"] = {outputs};
  };
  const int64_t hidden = text.hidden_size, query = int64_t{text.heads} * text.head_dim,
                kv = int64_t{text.kv_heads} * text.head_dim;
  out["model.embed_tokens.weight"] = {text.vocab_size, hidden};
  out["model.norm.weight"] = {hidden};
  if (!text.tie_word_embeddings) out["lm_head.weight"] = {text.vocab_size, hidden};
  for (int i = 0; i < text.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    out[layer + "input_layernorm.weight"] = out[layer + "post_attention_layernorm.weight"] = {hidden};
    linear(layer + "self_attn.q_proj", query, hidden, true);
    linear(layer + "self_attn.k_proj", kv, hidden, true);
    linear(layer + "self_attn.v_proj", kv, hidden, true);
    linear(layer + "self_attn.o_proj", hidden, query, false);
    linear(layer + "mlp.gate_proj", text.intermediate_size, hidden, false);
    linear(layer + "mlp.up_proj", text.intermediate_size, hidden, false);
    linear(layer + "mlp.down_proj", hidden, text.intermediate_size, false);
  }
  const int64_t width = vision.hidden_size,
                merged = width * vision.spatial_merge_size * vision.spatial_merge_size;
  out["visual.patch_embed.proj.weight"] = {width, vision.in_channels, vision.temporal_patch_size,
                                           vision.patch_size, vision.patch_size};
  for (int i = 0; i < vision.depth; ++i) {
    const std::string block = fmt::format("visual.blocks.{}.", i);
    out[block + "norm1.weight"] = out[block + "norm2.weight"] = {width};
    linear(block + "attn.qkv", 3 * width, width, true);
    linear(block + "attn.proj", width, width, true);
    linear(block + "mlp.gate_proj", vision.intermediate_size, width, true);
    linear(block + "mlp.up_proj", vision.intermediate_size, width, true);
    linear(block + "mlp.down_proj", width, vision.intermediate_size, true);
  }
  out["visual.merger.ln_q.weight"] = {width};
  linear("visual.merger.mlp.0", merged, merged, true);
  linear("visual.merger.mlp.2", vision.out_hidden_size, merged, true);
  return out;
}

}  // namespace dvlm
