// A model folder from anywhere: its index, the shards that this names, and which tensors they hold. Shards
// are given by their headers; their data is zeros.
#include "checkpoint/checkpoint.h"

#include <optional>

#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;
using fuzz::json;

constexpr auto kFiles = {"config.json", "model.safetensors.index.json"};

void check(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    DVLM_ASSERT(name == normalised_name(name) && checkpoint.has(name));
    DVLM_ASSERT(&checkpoint.get(name, tensor.shape) == &tensor);
    const std::string_view linear(name.data(),
                                  name.rfind(".weight") == name.npos ? 0 : name.rfind(".weight"));
    if (name.ends_with(".weight")) fuzz::accepts([&] { static_cast<void>(checkpoint.scale(linear)); });
  }
  for (const std::string& problem : checkpoint.problems()) fuzz::check_sentence(problem);
  fuzz::accepts([&] {
    const std::vector<int64_t> shape = {config.text.vocab_size, config.text.hidden_size};
    DVLM_ASSERT(checkpoint.head().shape == shape);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  fuzz::Input input(data, size);
  const json document = fuzz::document_of(input);
  fuzz::put_files(folder, document, kFiles);
  for (const char* name : {"model.safetensors", "a.safetensors", "b.safetensors"})
    if (document.contains(name)) folder.put(name, fuzz::safetensors_of(document.at(name)));
  std::optional<Checkpoint> checkpoint;
  if (fuzz::accepts([&] { checkpoint.emplace(folder.path()); })) check(*checkpoint);
  return 0;
}
