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

// What an adapter's folder may have instead of the model's. "processor_config.json" comes before the other
// file of pictures where both are.
constexpr const char* kPictures[] = {"preprocessor_config.json", "processor_config.json"};
constexpr const char* kTexts[] = {"tokenizer.json",      "tokenizer_config.json", "vocab.json",
                                  "merges.txt",          "added_tokens.json",     "special_tokens_map.json",
                                  "chat_template.jinja", "chat_template.json"};

void copy_some(std::span<const char* const> names, const fs::path& from, const fs::path& to) {
  for (const char* name : names)
    if (fs::exists(from / name)) write_file(to / name, read_file(from / name));
}

}  // namespace

void copy_companions(const fs::path& from, const fs::path& to) {
  constexpr const char* kSettings[] = {"video_preprocessor_config.json", "generation_config.json"};
  for (const std::span<const char* const> names :
       {std::span<const char* const>(kTexts), std::span<const char* const>(kPictures),
        std::span<const char* const>(kSettings)})
    copy_some(names, from, to);
}

void copy_beside_weights(const fs::path& from, const fs::path& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kWeights[] = {".safetensors", ".index.json", ".bin",     ".pt",  ".pth",
                                             ".gguf",        ".h5",         ".msgpack", ".onnx"};
    const bool weights =
        std::ranges::any_of(kWeights, [&](std::string_view ending) { return name.ends_with(ending); });
    if (entry.is_regular_file() && !weights && name != "README.md")
      write_file(to / name, read_file(entry.path()));  // never into what a link of `to` leads to
  }
}

void refuse_second_model(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(folder / name)) fail("{} holds a model already", folder.string());
}

namespace {

// What `run --lora` takes from the adapter's folder instead of the model's.
void copy_adapters_own(const fs::path& adapter, const fs::path& output) {
  constexpr const char* kModel[] = {"config.json"};
  const auto is_there = [&](const char* name) { return fs::exists(adapter / name); };
  std::error_code ignored;
  if (std::ranges::any_of(kPictures, is_there)) fs::remove(output / "processor_config.json", ignored);
  copy_some(kModel, adapter, output);
  copy_some(kTexts, adapter, output);
  copy_some(kPictures, adapter, output);
}

}  // namespace

void write_merged(const fs::path& model, const fs::path& adapter, const fs::path& output) {
  const Lora lora(adapter);
  if (lora.drafts_only())
    fail(
        "{} was trained to draft alone: the model would no longer verify as it did; use it with --draft-lora",
        adapter.string());
  refuse_second_model(output);
  Checkpoint checkpoint(model);
  checkpoint.add(lora);
  make_folder(output);
  copy_beside_weights(model, output);
  copy_adapters_own(adapter, output);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (name == "lm_head.weight" && checkpoint.config().text.tie_word_embeddings) continue;  // the embedding
    tensors.push_back({is_qwen(checkpoint.config()) ? name : published_name(name), tensor});
  }
  write_safetensors(output / "model.safetensors", tensors);  // last: a folder with weights is complete
}

}  // namespace dvlm
