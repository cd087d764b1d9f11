// Pictures of questions as they are sent and shown.
#pragma once
#include <string>

namespace dvlm {

// A data URL that says what its bytes are, of a data URL or a file. Throws Error as reading it does.
std::string picture_url(const std::string& source);

}  // namespace dvlm
