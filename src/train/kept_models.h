// Earlier models of a run, in folders inside its output: the newest few, and the best by validation.
#pragma once
#include <filesystem>

namespace dvlm {

// Makes output/`name` hold the model that `output` holds now, in place of what it held. Nothing is copied
// where the file system links.
void keep_model(const std::filesystem::path& output, const std::string& name);

// Removes all of output/step-NUMBER but the newest `count`.
void remove_older_models(const std::filesystem::path& output, int count);

}  // namespace dvlm
