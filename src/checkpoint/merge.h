// A model folder with an adapter merged into it, and the files that stand beside weights.
#pragma once
#include <filesystem>

namespace dvlm {

// Tokenizer, chat template, preprocessor and generation settings: those that are there.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

// Writes the model with the adapter merged in, as one safetensors file of the model's types; what stands
// beside the adapter (config.json, tokenizer) replaces the model's. Throws Error when the adapter is not one
// for the model, or `output` holds a model already.
void write_merged(const std::filesystem::path& model, const std::filesystem::path& adapter,
                  const std::filesystem::path& output);

}  // namespace dvlm
