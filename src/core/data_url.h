// Where a picture is: in a data URL (RFC 2397, in the spellings that clients send) or in a file.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dvlm {

// Scheme in any case, white space in front.
bool is_data_url(std::string_view source);

// The bytes of "data:image/png;base64,...": any media type and parameters or none, since the bytes say what
// they are; the alphabet of RFC 4648 or that for URLs, percent-encoded or not, with white space anywhere, and
// with all of its padding or none. Throws Error naming the character that is wrong.
std::vector<std::byte> data_of_url(std::string_view url);

// "data:;base64,..." with these bytes.
std::string data_url_of(std::span<const std::byte> bytes);

// The file that a path or a file:// URL names. Throws Error for what is on the network.
std::filesystem::path local_path(const std::string& source);

}  // namespace dvlm
