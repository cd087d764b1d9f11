// Formats of strings in JSON schemas.
#pragma once
#include <string>

namespace dvlm {

// A regular expression for all of a string in that format. Throws Error listing the formats there are.
std::string pattern_of_format(const std::string& format, const std::string& origin);

}  // namespace dvlm
