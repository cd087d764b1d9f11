// The configuration of a model folder from anywhere: what is read agrees with itself, and written again it
// reads as the same.
#include "checkpoint/config.h"

#include <optional>

#include "core/files.h"
#include "json_files.h"
#include "json_mutator.h"

namespace {

using namespace dvlm;

constexpr auto kFiles = {"config.json", "generation_config.json", "preprocessor_config.json",
                         "processor_config.json"};

std::string written(const fuzz::Folder& folder, const ModelConfig& config) {
  write_config(folder.path(), config);
  std::string all;
  for (const char* name : {"config.json", "generation_config.json", "preprocessor_config.json"})
    all += read_file(folder.path() / name);
  return all;
}

void check(const ModelConfig& config) {
  DVLM_ASSERT(problem_in(config).empty());
  const TextConfig& text = config.text;
  DVLM_ASSERT(text.heads % text.kv_heads == 0 && text.head_dim % 2 == 0 && text.rms_norm_eps >= 0);
  DVLM_ASSERT(config.block_size >= 1 && config.block_size <= 4096);
  DVLM_ASSERT(config.preprocessor.min_pixels <= config.preprocessor.max_pixels);
  for (const TokenId id : config.stop_tokens) DVLM_ASSERT(id >= 0);
  static const fuzz::Folder folder;
  const std::string once = written(folder, config);
  DVLM_ASSERT(written(folder, read_config(folder.path())) == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  fuzz::Input input(data, size);
  fuzz::put_files(folder, fuzz::document_of(input), kFiles);
  std::optional<ModelConfig> config;
  if (fuzz::accepts([&] { config = read_config(folder.path()); })) check(*config);
  return 0;
}
