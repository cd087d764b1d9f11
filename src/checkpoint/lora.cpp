#include "checkpoint/lora.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/json.h"
#include "core/error.h"
#include "core/files.h"
#include "core/thread_pool.h"

namespace dvlm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight",
                           kTokens = ".token_adapter.trainable_tokens_delta";

bool says_nothing(const json& value) {
  return value.is_null() || value == false || value == "none" || (value.is_structured() && value.empty());
}

// What changes no answer, or is read elsewhere. Of all other keys, "null", false and empty ones change none.
bool is_harmless(const std::string& key) {
  static constexpr const char* kKeys[] = {"peft_type",
                                          "r",
                                          "lora_alpha",
                                          "use_rslora",
                                          kDraftsOnly,
                                          "trainable_token_indices",
                                          "init_lora_weights",
                                          "auto_mapping",
                                          "base_model_name_or_path",
                                          "inference_mode",
                                          "lora_dropout",
                                          "megatron_core",
                                          "peft_version",
                                          "qalora_group_size",
                                          "revision",
                                          "target_modules",
                                          "task_type",
                                          "exclude_modules",
                                          "layers_to_transform",
                                          "layers_pattern",
                                          "rank_pattern",
                                          "ensure_weight_tying",
                                          "loftq_config",
                                          "eva_config",
                                          "corda_config",
                                          "lora_ga_config",
                                          "megatron_config"};
  return std::ranges::find(kKeys, key) != std::end(kKeys);
}

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.elements()));
  copy_to_float(tensor, 0, tensor.elements(), out.data());
  return out;
}

void narrow(const float* from, DType type, int64_t count, std::byte* to) {
  const size_t size = size_of(type);
  for (int64_t i = 0; i < count; ++i, to += size) {
    const uint16_t half = type == DType::bf16 ? to_bf16(from[i]).bits : to_f16(from[i]).bits;
    std::memcpy(to, type == DType::f32 ? static_cast<const void*>(from + i) : &half, size);
  }
}

}  // namespace

Lora::Lora(const fs::path& folder) : folder_(folder) {
  read_config();
  read_tensors();
}

void Lora::read_config() {
  const fs::path path = folder_ / kConfig;
  if (!fs::exists(path)) fail("{} is no LoRA adapter: it holds no {}", folder_.string(), kConfig);
  identity_ = read_file(path);
  const json file = read_json(path);
  const JsonObject config(file, path.string());
  if (config.string("peft_type", "LORA") != "LORA")
    fail("{}: adapters of the type {} are not read, LORA is", path.string(),
         printable(config.string("peft_type", "")));
  alpha_ = config.number("lora_alpha", -1e6, 1e6);
  root_ = config.boolean("use_rslora", false);
  drafts_only_ = config.boolean(kDraftsOnly, false);
  // Some ways to begin change the model that the adapter is then for.
  if (const json* start = config.find("init_lora_weights");
      start && !start->is_boolean() && *start != "gaussian" && *start != "orthogonal" && *start != "eva")
    fail(
        "{}: with init_lora_weights {} the adapter belongs to a model that PEFT changed first; save it as a "
        "plain LoRA (save_pretrained of PEFT with path_initial_model_for_weight_conversion)",
        path.string(), printable(start->dump()));
  if (const json* indices = config.find("trainable_token_indices"); indices && !says_nothing(*indices)) {
    const json* list = indices->is_object() && indices->size() == 1 && indices->contains("embed_tokens")
                           ? &indices->at("embed_tokens")
                           : indices;
    const json held = {{"trainable_token_indices", *list}};
    constexpr size_t kMost = 1 << 20;
    tokens_ = JsonObject(held, path.string()).integers("trainable_token_indices", 0, INT32_MAX, kMost);
  }
  for (const auto& [key, value] : file.items())
    if (!is_harmless(key) && !says_nothing(value))
      fail(
          "{}: \"{}\" is {}, which dvlm cannot follow: merge the adapter into its model with PEFT "
          "(merge_and_unload), and run that",
          path.string(), printable(key), printable(value.dump()));
}

void Lora::set_once(TensorView& place, const TensorView& tensor, const std::string& name) const {
  if (!place.shape.empty())
    fail("{}: tensor {} occurs twice (also under its other name)", folder_.string(), printable(name));
  place = tensor;
}

void Lora::read_tensors() {
  const fs::path path = folder_ / kTensors;
  if (!fs::exists(path)) fail("{} holds no {}", folder_.string(), kTensors);
  file_ = std::make_unique<Safetensors>(path);
  identity_ += file_identity(path);
  for (const auto& [name, tensor] : file_->tensors()) {
    std::string_view rest = name;
    const bool known = rest.starts_with(kPrefix) && is_number(tensor.type) && tensor.shape.size() == 2;
    if (known) rest.remove_prefix(kPrefix.size());
    if (known && (rest.ends_with(kA) || rest.ends_with(kB))) {
      Linear& linear = linears_[normalised_name(rest.substr(0, rest.size() - kA.size()))];
      set_once(rest.ends_with(kA) ? linear.a : linear.b, tensor, name);
    } else if (known && rest.ends_with(kTokens) && !tokens_.empty()) {
      set_once(token_rows_, tensor, name);
    } else {
      fail(
          "{}: tensor {} {} is no part of a LoRA that dvlm reads: merge the adapter into its model with PEFT "
          "(merge_and_unload), and run that",
          path.string(), printable(name), to_string(tensor.shape));
    }
  }
  for (auto& [name, linear] : linears_) {
    if (linear.a.shape.empty() || linear.b.shape.empty())
      fail("{}: {} has only one of lora_A and lora_B", path.string(), printable(name));
    const int64_t rank = linear.a.shape[0];
    if (rank < 1 || linear.b.shape[1] != rank)
      fail("{}: {} has lora_A {} and lora_B {}, which do not fit", path.string(), printable(name),
           to_string(linear.a.shape), to_string(linear.b.shape));
    linear.scale = alpha_ / (root_ ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
  }
  if (linears_.empty() && tokens_.empty())
    fail("{} holds no adapter: {} has no tensors", folder_.string(), kTensors);
  if (std::ssize(tokens_) != (token_rows_.shape.empty() ? 0 : token_rows_.shape[0]))
    fail("{}: {} trainable_token_indices have no rows of their own in {}", folder_.string(), tokens_.size(),
         kTensors);
}

void Lora::check(const ModelConfig& config) const {
  const auto expected = expected_tensors(config);
  for (const auto& [name, linear] : linears_) {
    const auto found = expected.find(name + ".weight");
    if (found == expected.end() || found->second.size() != 2)
      fail("{} changes {}, which the model does not have{}", folder_.string(), printable(name),
           name == "lm_head" ? ": its head is the embedding" : "");
    const std::vector<int64_t> shape = {linear.b.shape[0], linear.a.shape[1]};
    if (shape != found->second)
      fail("{} is for another model: {} is {} there and {} here", folder_.string(), printable(name),
           to_string(shape), to_string(found->second));
  }
  for (const int64_t token : tokens_)
    if (token >= config.text.vocab_size)
      fail("{} is for another model: it has a row for token {} of {}", folder_.string(), token,
           config.text.vocab_size);
  if (!tokens_.empty() && token_rows_.shape[1] != config.text.hidden_size)
    fail("{} is for another model: rows of its tokens have {} numbers and not {}", folder_.string(),
         token_rows_.shape[1], config.text.hidden_size);
}

namespace {

// weight += scale * B A, in float, rounded once.
void merge(const Lora::Linear& linear, const TensorView& weight, std::byte* to, ThreadPool& pool) {
  const std::vector<float> a = floats(linear.a), b = floats(linear.b);
  const int64_t rank = linear.a.shape[0], inputs = linear.a.shape[1];
  const size_t row_bytes = static_cast<size_t>(inputs) * size_of(weight.type);
  const auto scale = static_cast<float>(linear.scale);
  pool.parallel_for(linear.b.shape[0], [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(inputs)), added(row.size());
    for (int64_t out = begin; out < end; ++out) {
      copy_to_float(weight, out * inputs, inputs, row.data());
      std::ranges::fill(added, 0.0f);
      for (int64_t k = 0; k < rank; ++k) {
        const float factor = b[static_cast<size_t>(out * rank + k)];
        const float* from = a.data() + k * inputs;
        for (size_t i = 0; i < added.size(); ++i) added[i] += factor * from[i];
      }
      for (size_t i = 0; i < row.size(); ++i) row[i] += scale * added[i];
      narrow(row.data(), weight.type, inputs, to + static_cast<size_t>(out) * row_bytes);
    }
  });
}

void replace_rows(const Lora& lora, const TensorView& embedding, std::byte* to) {
  const std::vector<float> rows = floats(lora.token_rows());
  const int64_t width = lora.token_rows().shape[1];
  for (size_t i = 0; i < lora.tokens().size(); ++i)
    narrow(rows.data() + static_cast<int64_t>(i) * width, embedding.type, width,
           to + static_cast<size_t>(lora.tokens()[i] * width) * size_of(embedding.type));
}

// Memory that is a file's: who gives back pages of a checkpoint finds them again. Null when it is short.
std::byte* shared_memory(size_t size) {
  const int file = ::memfd_create("dvlm-lora", MFD_CLOEXEC);
  void* data = MAP_FAILED;
  if (file >= 0 && ::posix_fallocate(file, 0, static_cast<off_t>(size)) == 0)  // or it ends in SIGBUS
    data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file >= 0) ::close(file);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

size_t aligned_bytes(const TensorView& tensor) {
  return (tensor.bytes() + 63) / 64 * 64;
}

}  // namespace

MergedTensors::MergedTensors(const Lora& lora, std::map<std::string, TensorView>& tensors) {
  struct Change {
    TensorView* tensor;
    const Lora::Linear* linear;  // null: rows of the embedding
  };
  std::vector<Change> changes;
  const auto change = [&](const std::string& name, const Lora::Linear* linear) {
    const auto found = tensors.find(name);
    if (found == tensors.end())
      fail("{} changes {}, which the model does not hold as F32, F16 or BF16", lora.folder().string(), name);
    if (!is_number(found->second.type))
      fail(
          "{}: {} of the model is {}, and an adapter needs F32, F16 or BF16 weights: merge it before the "
          "model is quantized",
          lora.folder().string(), name, name_of(found->second.type));
    changes.push_back({&found->second, linear});
    size_ += aligned_bytes(found->second);
  };
  for (const auto& [name, linear] : lora.linears()) change(name + ".weight", &linear);
  if (!lora.tokens().empty()) change("model.embed_tokens.weight", nullptr);
  if (size_ == 0) return;
  data_ = shared_memory(size_);
  if (!data_)
    fail("no memory for the weights that {} changes ({})", lora.folder().string(),
         bytes_text(static_cast<double>(size_)));
  std::byte* to = data_;
  ThreadPool pool(0);
  for (const auto& [tensor, linear] : changes) {
    std::memcpy(to, tensor->data, tensor->bytes());
    if (linear)
      merge(*linear, *tensor, to, pool);
    else
      replace_rows(lora, *tensor, to);
    tensor->data = to;
    to += aligned_bytes(*tensor);
  }
}

MergedTensors::~MergedTensors() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace dvlm
