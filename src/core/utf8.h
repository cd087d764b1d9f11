// UTF-8 decoding that never reads past the end and agrees with Python's errors="replace".
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace dvlm {

struct Utf8Char {
  char32_t code = 0xFFFD;  // U+FFFD when invalid
  size_t length = 1;       // bytes consumed, at least 1; for an invalid sequence its maximal subpart
  bool valid = false;
  bool incomplete = false;  // the text ends inside what may become a valid character
};

// Decodes the character at text[at]; requires at < text.size().
Utf8Char next_utf8(std::string_view text, size_t at);

// The text's characters; U+FFFD stands for each invalid maximal subpart.
std::u32string code_points(std::string_view text);

void append_utf8(std::string& out, char32_t code);

// Replaces every invalid maximal subpart by U+FFFD, as Python's bytes.decode("utf-8", errors="replace").
std::string replace_invalid_utf8(std::string_view text);

bool is_valid_utf8(std::string_view text);

// Length of the longest prefix that ends at a character boundary: what a stream may print now.
size_t complete_utf8_prefix(std::string_view text);

}  // namespace dvlm
