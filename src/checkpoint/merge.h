// A model folder with an adapter merged into it, and the files that stand beside weights.
#pragma once
#include <filesystem>
#include <string_view>

namespace dvlm {

// Tokenizer, chat template, preprocessor and generation settings: those that are there.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

// Whether a name is that of weights in another program's format.
bool is_for_others(std::string_view name);

// All files but weights, in whatever format, their index and README.md; as they are, whatever they hold.
void copy_beside_weights(const std::filesystem::path& from, const std::filesystem::path& to);

bool has_weights(const std::filesystem::path& folder);

// Throws Error where a folder to be written has weights.
void refuse_second_model(const std::filesystem::path& folder);

// Writes the model with the adapter merged in, as one safetensors file of the model's types; of what stands
// beside the adapter, what counts when it is used beside the model (config.json, tokenizer, chat template,
// preprocessor) replaces the model's. Throws Error when the adapter is not one for the model, or `output`
// holds a model or is the adapter's folder.
void write_merged(const std::filesystem::path& model, const std::filesystem::path& adapter,
                  const std::filesystem::path& output);

}  // namespace dvlm
