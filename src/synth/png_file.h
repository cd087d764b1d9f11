// PNG files, written fast rather than small.
#pragma once
#include <filesystem>

#include "synth/painter.h"

namespace dvlm {

// The file's bytes depend on the pixels alone. Throws Error when it cannot be written.
void write_png(const std::filesystem::path& path, const Picture& picture);

}  // namespace dvlm
