// How the hub names what is in a file.
#pragma once
#include <filesystem>
#include <functional>
#include <string>

namespace dvlm {

// In hexadecimal. `progress` hears how many bytes are read, and may throw. Throws Error for a file that
// cannot be read.
std::string sha256_of(const std::filesystem::path& path, const std::function<void(size_t)>& progress = {});
std::string git_blob_of(const std::filesystem::path& path);  // SHA-1 of "blob <size>\0" and the content

}  // namespace dvlm
