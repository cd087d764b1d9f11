// PNG files.
#pragma once
#include <filesystem>

#include "synth/painter.h"

namespace dvlm {

enum class Compression { fast, small };

// The file's bytes depend on pixels and compression alone. Throws Error when it cannot be written.
void write_png(const std::filesystem::path& path, const Image& picture,
               Compression compression = Compression::fast);

}  // namespace dvlm
