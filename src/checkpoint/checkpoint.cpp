#include "checkpoint/checkpoint.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <set>

#include "checkpoint/foreign.h"
#include "checkpoint/json.h"
#include "checkpoint/lora.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kText = "model.language_model.", kVision = "model.visual.";
constexpr std::string_view kWeight = ".weight";
constexpr const char* kInferenceAlone = "which inference alone reads; take the checkpoint in BF16";
constexpr std::string_view kTextAlone = "language_model.";  // Qwen2_5_VLModel, saved without its head

std::set<fs::path> files_of_index(const fs::path& index) {
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
    files.insert(index.parent_path() / name.get<std::string>());
  }
  return files;
}

// As in transformers, model.safetensors comes before an index, which may be left over from other weights.
std::vector<fs::path> shard_files(const fs::path& folder) {
  const fs::path index = folder / "model.safetensors.index.json", single = folder / "model.safetensors";
  const bool has_index = fs::exists(index);
  if (fs::exists(single)) {
    if (has_index && files_of_index(index) != std::set{single})
      log_warning_once("{}: {} is read; the index beside it names other files, which are ignored",
                       folder.string(), single.filename().string());
    return {single};
  }
  if (!has_index) {
    const std::string instead = held_instead(folder);
    fail("{} holds neither model.safetensors nor model.safetensors.index.json{}{}", folder.string(),
         instead.empty() ? "" : "; ", instead);
  }
  const std::set<fs::path> files = files_of_index(index);
  for (const fs::path& shard : files)
    if (!fs::exists(shard)) fail("{} names {}, which is missing", index.string(), shard.filename().string());
  return {files.begin(), files.end()};
}

// Everything but linear layers stays wide in W8A8 (docs/reference.md, FP8 checkpoint).
bool may_be_quantized(std::string_view name) {
  return name.ends_with(".weight") && name.find("norm") == name.npos && name.find("ln_q") == name.npos &&
         !name.ends_with("embed_tokens.weight") && name != "lm_head.weight" &&
         name != "visual.patch_embed.proj.weight";
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.type == b.type && a.shape == b.shape && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

std::string normalised_name(std::string_view name) {
  if (name.starts_with(kText)) return "model." + std::string(name.substr(kText.size()));
  if (name.starts_with(kTextAlone)) return "model." + std::string(name.substr(kTextAlone.size()));
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
  if (config_.quantization) {
    const std::string where = (folder / "config.json").string() + ": quantization_config";
    grouped_format_ = grouped_format(*config_.quantization, where);
    if (!grouped_format_) refuse_other_quantizers(*config_.quantization, where);
  }
  for (const fs::path& file : shard_files(folder)) {
    identity_ += file_identity(file);
    shards_.push_back(std::make_unique<Safetensors>(file));
    for (const auto& [name, tensor] : shards_.back()->tensors()) {
      const std::string normal = normalised_name(name);
      if (normal.ends_with("rotary_emb.inv_freq")) continue;
      if (!tensors_.emplace(normal, tensor).second)
        fail("{}: tensor {} occurs twice (also under its other name, or in another shard)", file.string(),
             printable(name));
    }
  }
  refuse_foreign_tensors();
  settle_head();
  warn_of_unused();
}

void Checkpoint::add(const Lora& lora) {
  if (fs::exists(lora.folder() / "config.json")) {
    const ModelConfig own = read_config(lora.folder());
    if (expected_tensors(own) != expected_tensors(config_))
      fail("{} is for another model than {}: their config.json differ in shape", lora.folder().string(),
           folder_.string());
    const std::string problem = difference_in(own, config_);
    // Drafts are trained beside the model in BF16 and used beside the same in fewer bits.
    if (!problem.empty() && !(lora.drafts_only() && problem == "quantization_config"))
      fail("{} is for another model than {}: their config.json differ in {}", lora.folder().string(),
           folder_.string(), problem);
    config_.architecture = own.architecture;
    config_.block_size = own.block_size;
    config_.minimum_noise_level = own.minimum_noise_level;
    if (!lora.drafts_only()) config_.clean_attention = own.clean_attention;
  }
  lora.check(config_);
  if (lora.drafts_only()) return;  // what the model itself reads and writes stays its own
  if (const auto own = read_preprocessor(lora.folder(), config_.vision)) config_.preprocessor = *own;
  identity_ += lora.identity();
  merged_ = std::make_unique<MergedTensors>(lora, tensors_);
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

void Checkpoint::refuse_foreign_tensors() const {
  for (const auto& [name, tensor] : tensors_)
    if (const std::string why = problem_of_name(name); !why.empty() && grouped_weight_of(name).empty())
      fail("{}: tensor {} {}", folder_.string(), printable(name), why);
}

// A tied head may be stored a second time, or in place of the embedding. One that differs was trained apart.
void Checkpoint::settle_head() {
  const auto head = tensors_.find("lm_head.weight"), embedding = tensors_.find("model.embed_tokens.weight");
  if (!config_.text.tie_word_embeddings || head == tensors_.end()) return;
  if (embedding == tensors_.end()) {
    tensors_["model.embed_tokens.weight"] = head->second;
    return;
  }
  if (same_bytes(head->second, embedding->second)) return;
  log_warning_once(
      "{}: tie_word_embeddings is true but lm_head.weight differs from the embedding; each is used as stored",
      folder_.string());
  config_.text.tie_word_embeddings = false;
}

void Checkpoint::warn_of_unused() const {
  const std::vector<std::string> names = unused();
  if (!names.empty())
    log_warning_once("{}: {} tensor(s) are not used by this architecture and are ignored, the first is {}",
                     folder_.string(), names.size(), printable(names.front()));
  if (!folder_.empty() && fs::exists(folder_ / "adapter_config.json"))
    log_warning_once("{}: adapter_config.json is ignored; answers are those of the weights beside it",
                     folder_.string());
}

std::vector<std::string> Checkpoint::unused() const {
  const auto expected = expected_tensors(config_);
  const auto is_used = [&](const std::string& name) {
    if (expected.count(name) || expected.count(grouped_weight_of(name))) return true;
    if (name == "lm_head.weight") return config_.text.tie_word_embeddings;  // the same bytes
    if (!name.ends_with(".weight_scale")) return false;
    const auto weight = tensors_.find(name.substr(0, name.size() - std::strlen("_scale")));
    return weight != tensors_.end() && is_quantized(weight->second) && expected.count(weight->first);
  };
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tensors_)
    if (!is_used(name)) out.push_back(name);
  return out;
}

Checkpoint::Checkpoint(ModelConfig config, std::map<std::string, TensorView> tensors)
    : config_(std::move(config)), tensors_(std::move(tensors)) {}

bool Checkpoint::has(std::string_view name) const {
  return tensors_.count(std::string(name)) != 0;
}

const TensorView& Checkpoint::get(std::string_view name, const std::vector<int64_t>& shape) const {
  const auto it = tensors_.find(std::string(name));
  if (it == tensors_.end() && is_grouped(name))
    fail("{}: {} is packed in four bits, {}", folder_.string(), name, kInferenceAlone);
  if (it == tensors_.end()) fail("{}: tensor {} is missing", folder_.string(), name);
  if (it->second.shape != shape)
    fail("{}: tensor {} has shape {}, but config.json asks for {}", folder_.string(), name,
         to_string(it->second.shape), to_string(shape));
  return it->second;
}

const TensorView& Checkpoint::head() const {
  const std::vector<int64_t> shape = {config_.text.vocab_size, config_.text.hidden_size};
  if (!config_.text.tie_word_embeddings && !has("lm_head.weight"))
    fail("{}: tensor lm_head.weight is missing, and config.json does not say tie_word_embeddings: true",
         folder_.string());
  return get(config_.text.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", shape);
}

namespace {

bool per_row(const TensorView& scale, int64_t rows) {
  const auto& shape = scale.shape;
  return is_number(scale.type) && !shape.empty() && shape[0] == rows &&
         (shape.size() == 1 || (shape.size() == 2 && shape[1] == 1));
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
  if (scale == tensors_.end() && is_grouped(weight))
    return fmt::format("tensor {} is in FP8 with scales for blocks, {}", weight, kInferenceAlone);
  if (scale == tensors_.end())
    return fmt::format("tensor {} is {} but {}_scale is missing", weight, name_of(tensors_.at(weight).type),
                       weight);
  const int64_t rows = tensors_.at(weight).shape.at(0);
  if (per_row(scale->second, rows)) return "";
  const bool single = scale->second.elements() == 1;
  return fmt::format("tensor {}_scale is {} {}{}, expected F32, F16 or BF16 [{}] or [{}, 1]", weight,
                     name_of(scale->second.type), to_string(scale->second.shape),
                     single ? " (one scale per tensor)" : "", rows, rows);
}

// Weights are F32, F16 or BF16; those of linear layers may be F8_E4M3 or I8 beside one scale per row.
std::string Checkpoint::problem_of_type(const std::string& name, const TensorView& tensor) const {
  if (is_number(tensor.type)) return "";
  if (is_grouped(name)) return problem_of_grouped(name, tensor.shape);
  const bool linear = may_be_quantized(name);
  if (!is_quantized(tensor) || !linear)
    return fmt::format("tensor {} is {}, expected F32, F16{}", name, name_of(tensor.type),
                       linear ? ", BF16, F8_E4M3 or I8" : " or BF16");
  return problem_of_scale(name);
}

bool Checkpoint::is_grouped(std::string_view weight) const {
  if (!grouped_format_ || !may_be_quantized(weight)) return false;
  const std::string linear(weight.substr(0, weight.size() - kWeight.size()));
  return has(linear + std::string(grouped_endings(grouped_format_->tool).front()));
}

std::optional<GroupedWeight> Checkpoint::grouped(std::string_view linear, int64_t outputs,
                                                 int64_t inputs) const {
  const std::string weight = std::string(linear) + std::string(kWeight);
  if (!is_grouped(weight)) return {};
  const bool blocks = grouped_format_->tool == GroupedFormat::Tool::fp8_blocks;
  if (!blocks && has(weight))
    fail("{}: {} is there in four bits and as {}", folder_.string(), linear, weight);
  return GroupedWeight(tensors_, std::string(linear), *grouped_format_, outputs, inputs, folder_.string());
}

std::string Checkpoint::grouped_weight_of(std::string_view name) const {
  if (!grouped_format_) return "";
  for (const std::string_view ending : grouped_endings(grouped_format_->tool)) {
    if (!name.ends_with(ending)) continue;
    std::string weight = std::string(name.substr(0, name.size() - ending.size())) + std::string(kWeight);
    if (is_grouped(weight)) return weight;
  }
  return "";
}

// `name` and `shape` are those of its weight.
std::string Checkpoint::problem_of_grouped(const std::string& name, const std::vector<int64_t>& shape) const {
  try {
    grouped(name.substr(0, name.rfind('.')), shape.at(0), shape.at(1));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string first_of_input(std::string_view linear) {
  constexpr std::pair<std::string_view, std::string_view> kParts[] = {
      {".k_proj", ".q_proj"}, {".v_proj", ".q_proj"}, {".up_proj", ".gate_proj"}};
  for (const auto& [part, first] : kParts)
    if (linear.ends_with(part))
      return std::string(linear.substr(0, linear.size() - part.size())) + std::string(first);
  return std::string(linear);
}

std::string Checkpoint::problem_of_shared_input(std::string_view weight) const {
  if (!weight.ends_with(kWeight)) return "";
  const std::string first =
      first_of_input(weight.substr(0, weight.size() - kWeight.size())) + std::string(kWeight);
  const auto type_of = [&](std::string_view name) -> std::string_view {
    const auto found = tensors_.find(std::string(name));
    const bool codes = found != tensors_.end() && is_quantized(found->second) && !is_grouped(name);
    return codes ? name_of(found->second.type) : "in no codes of eight bits";
  };
  if (type_of(weight) == type_of(first)) return "";
  return fmt::format("tensors {} and {} share their input, but one is {} and the other {}", first, weight,
                     type_of(first), type_of(weight));
}

void Checkpoint::check_shared_input(std::string_view linear) const {
  const std::string problem = problem_of_shared_input(std::string(linear) + std::string(kWeight));
  if (!problem.empty()) fail("{}: {}", folder_.string(), problem);
}

std::vector<std::string> Checkpoint::problems() const {
  std::vector<std::string> out;
  const auto expected = expected_tensors(config_);
  for (const auto& [name, shape] : expected) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) {
      const std::string problem = is_grouped(name)
                                      ? problem_of_grouped(name, shape)
                                      : fmt::format("tensor {} {} is missing", name, to_string(shape));
      if (!problem.empty()) out.push_back(problem);
    } else if (it->second.shape != shape)
      out.push_back(fmt::format("tensor {} has shape {}, expected {}", name, to_string(it->second.shape),
                                to_string(shape)));
    else if (const std::string problem = problem_of_type(name, it->second); !problem.empty())
      out.push_back(problem);
    if (const std::string problem = problem_of_shared_input(name); !problem.empty()) out.push_back(problem);
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
  const int64_t width = vision.hidden_size, merged = width * vision.patches_per_token();
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
