// How a checkpoint wants its pictures prepared.
#pragma once
#include <filesystem>

#include "checkpoint/config.h"

namespace dvlm {

// Reads "image_processor" of processor_config.json (transformers 5), else preprocessor_config.json; without
// either the defaults stay. Settings that dvlm cannot follow are refused by name, those that change nothing
// are warned of.
PreprocessorConfig read_preprocessor(const std::filesystem::path& folder, const VisionConfig& vision);

}  // namespace dvlm
