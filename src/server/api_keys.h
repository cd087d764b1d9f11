// The keys of which clients must show one.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace dvlm {

// One key per line, without the white space around it; lines that are empty or begin with # do not count.
// Throws Error naming the line for what no client could send, and for a file without keys.
std::vector<std::string> read_api_keys(const std::filesystem::path& file);

}  // namespace dvlm
