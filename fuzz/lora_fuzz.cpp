// A LoRA adapter from anywhere, and a model that it is merged into. Its tensors are given by their header;
// their data are zeros, but for rows of tokens, which replace what the model has.
#include "checkpoint/lora.h"

#include <optional>

#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;
using fuzz::json;

const std::filesystem::path& model() {
  static const std::filesystem::path folder = std::filesystem::path(DVLM_FIXTURES) / "model/gqa4-head16-f32";
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  fuzz::Input input(data, size);
  const json document = fuzz::document_of(input);
  fuzz::put_files(folder, document, {"adapter_config.json", "config.json"});
  if (document.contains("adapter_model.safetensors"))
    folder.put("adapter_model.safetensors", fuzz::safetensors_of(document.at("adapter_model.safetensors")));
  std::optional<Lora> lora;
  if (!fuzz::accepts([&] { lora.emplace(folder.path()); })) return 0;
  for (const auto& [name, linear] : lora->linears())
    DVLM_ASSERT(linear.a.shape.size() == 2 && linear.b.shape.size() == 2 &&
                linear.a.shape[0] == linear.b.shape[1]);
  Checkpoint checkpoint(model());
  const auto before = checkpoint.tensors();
  if (!fuzz::accepts([&] { checkpoint.add(*lora); })) return 0;
  DVLM_ASSERT(checkpoint.problems().empty());
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const bool rows = name == "model.embed_tokens.weight" && !lora->tokens().empty();
    DVLM_ASSERT(tensor.bytes() == before.at(name).bytes());
    DVLM_ASSERT(rows ||
                std::memcmp(tensor.data, before.at(name).data, tensor.bytes()) == 0);  // nothing was added
  }
  return 0;
}
