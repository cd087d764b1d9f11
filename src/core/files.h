// Whole-file reading and atomic writing.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace dvlm {

// Throws Error when the file is missing, unreadable or larger than `limit` bytes.
std::string read_file(const std::filesystem::path& path, size_t limit = size_t{1} << 30);

// Writes beside the target and renames, so that readers see the old file or the new one, never half of it.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace dvlm
