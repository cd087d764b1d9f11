#include "checkpoint/merge.h"

#include "checkpoint/lora.h"
#include "core/error.h"
#include "core/files.h"

namespace dvlm {

namespace fs = std::filesystem;

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
        "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
        "processor_config.json", "video_preprocessor_config.json", "generation_config.json"}) {
    if (fs::exists(from / name)) write_file(to / name, read_file(from / name));
  }
}

void write_merged(const fs::path& model, const fs::path& adapter, const fs::path& output) {
  const Lora lora(adapter);
  if (lora.drafts_only())
    fail(
        "{} was trained to draft alone: the model would no longer verify as it did; use it with --draft-lora",
        adapter.string());
  Checkpoint checkpoint(model);
  checkpoint.add(lora);
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(output / name)) fail("{} holds a model already", output.string());
  make_folder(output);
  std::vector<NamedTensor> tensors;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (name == "lm_head.weight" && checkpoint.config().text.tie_word_embeddings) continue;  // the embedding
    tensors.push_back({is_qwen(checkpoint.config()) ? name : published_name(name), tensor});
  }
  write_safetensors(output / "model.safetensors", tensors);
  for (const fs::path& from : {model, adapter}) {
    copy_companions(from, output);
    if (fs::exists(from / "config.json")) write_file(output / "config.json", read_file(from / "config.json"));
  }
}

}  // namespace dvlm
