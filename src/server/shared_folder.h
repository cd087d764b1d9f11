// Files below one folder, named by strangers.
#pragma once
#include <memory>
#include <string>

#include "core/files.h"

namespace dvlm {

// A regular file that was below `root` when it was opened, by its canonical path. Null for all that is not a
// regular file below `root`, symbolic links resolved, or cannot be opened: the caller cannot tell why.
// `name`: relative to `root`, or absolute.
std::shared_ptr<const InputFile> open_below(const std::filesystem::path& root, const std::string& name);

}  // namespace dvlm
