#include "checkpoint/merge.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "checkpoint/lora.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPictures[] = {"preprocessor_config.json", "processor_config.json"};
constexpr const char* kTexts[] = {"tokenizer.json",      "tokenizer_config.json", "vocab.json",
                                  "merges.txt",          "added_tokens.json",     "special_tokens_map.json",
                                  "chat_template.jinja", "chat_template.json"};

// Never into what a link of `to` leads to, and never half.
void copy_one(const fs::path& from, const fs::path& to) {
  const fs::path partial = to.string() + ".partial";
  std::error_code error, ignored;
  fs::remove(partial, ignored);
  fs::copy_file(from, partial, error);
  if (!error) fs::rename(partial, to, error);
  if (error) fs::remove(partial, ignored);
  if (error) fail("cannot copy {} to {}: {}", from.string(), to.string(), error.message());
}

void copy_some(std::span<const char* const> names, const fs::path& from, const fs::path& to) {
  for (const char* name : names)
    if (fs::exists(from / name)) copy_one(from / name, to / name);
}

}  // namespace

void copy_companions(const fs::path& from, const fs::path& to) {
  constexpr const char* kSettings[] = {"video_preprocessor_config.json", "generation_config.json"};
  for (const std::span<const char* const> names :
       {std::span<const char* const>(kTexts), std::span<const char* const>(kPictures),
        std::span<const char* const>(kSettings)})
    copy_some(names, from, to);
}

bool is_for_others(std::string_view name) {
  constexpr std::string_view kEndings[] = {".bin",  ".pt", ".pth",    ".h5",  ".msgpack", ".onnx",
                                           ".gguf", ".ot", ".tflite", ".npz", ".pkl",     ".ckpt"};
  return std::ranges::any_of(kEndings, [&](std::string_view ending) { return name.ends_with(ending); });
}

void copy_beside_weights(const fs::path& from, const fs::path& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".index.json") ||
                         name.ends_with(".partial") || is_for_others(name);
    if (entry.is_regular_file() && !weights && name != "README.md") copy_one(entry.path(), to / name);
  }
}

bool has_weights(const fs::path& folder) {
  return fs::exists(folder / "model.safetensors") || fs::exists(folder / "model.safetensors.index.json");
}

void refuse_second_model(const fs::path& folder) {
  if (has_weights(folder)) fail("{} holds a model already", folder.string());
}

namespace {

void replace(std::span<const char* const> names, const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  for (const char* name : names) fs::remove(to / name, ignored);
  copy_some(names, from, to);
}

// What `run --lora` takes from the adapter's folder instead of the model's: all of what is said of texts or
// of pictures, or nothing of it.
void copy_adapters_own(const fs::path& adapter, const ModelConfig& config, const fs::path& output) {
  constexpr const char* kModel[] = {"config.json"};
  copy_some(kModel, adapter, output);
  if (fs::exists(adapter / "tokenizer_config.json")) replace(kTexts, adapter, output);
  if (read_preprocessor(adapter, config.vision)) replace(kPictures, adapter, output);
}

}  // namespace

void write_merged(const fs::path& model, const fs::path& adapter, const fs::path& output) {
  const Lora lora(adapter);
  if (lora.drafts_only())
    fail(
        "{} was trained to draft alone: the model would no longer verify as it did; use it with --draft-lora",
        adapter.string());
  refuse_second_model(output);
  if (std::error_code ignored; fs::equivalent(adapter, output, ignored))
    fail("{} is the adapter's own folder: name another one to write to", output.string());
  Checkpoint checkpoint(model);
  checkpoint.add(lora);
  make_folder(output);
  copy_beside_weights(model, output);
  copy_adapters_own(adapter, checkpoint.config(), output);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (name == "lm_head.weight" && checkpoint.config().text.tie_word_embeddings) continue;  // the embedding
    tensors.push_back({is_qwen(checkpoint.config()) ? name : published_name(name), tensor});
  }
  write_safetensors(output / "model.safetensors", tensors);  // last: a folder with weights is complete
}

}  // namespace dvlm
