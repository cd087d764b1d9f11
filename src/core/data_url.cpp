#include "core/data_url.h"

#include <cstdint>

#include "core/ascii.h"
#include "core/error.h"

namespace dvlm {

namespace {

constexpr std::string_view kDataScheme = "data:";
constexpr size_t kLongestMediaType = 1024;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The last two have another letter in URLs.
int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

// The character at text[at], percent-encoded or not, and moves `at` to its last byte.
char percent_decoded(std::string_view text, size_t& at) {
  if (text[at] != '%' || at + 2 >= text.size()) return text[at];
  const int high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
  if (high < 0 || low < 0) return text[at];
  at += 2;
  return static_cast<char>(high << 4 | low);
}

std::vector<std::byte> decode_base64(std::string_view text) {
  std::vector<std::byte> out;
  out.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  size_t digits = 0, padding = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t begin = i;
    const char c = percent_decoded(text, i);
    const int value = base64_value(c);
    if (value < 0 && (c == '=' || trim({&c, 1}).empty())) {
      padding += c == '=' ? 1 : 0;
      continue;
    }
    if (value < 0 || padding != 0)
      fail("the data URL is not valid base64 at character {} of its data; encode the picture again", begin);
    bits = (bits << 6) | static_cast<uint32_t>(value);
    if (++digits % 4 == 0) {
      for (int shift = 16; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(bits >> shift));
      bits = 0;
    }
  }
  const size_t rest = digits % 4;
  if (rest == 1 || (padding > 0 && (padding > 2 || (digits + padding) % 4 != 0)))
    fail("the data URL's base64 is cut off ({} digits and {} '='); send all of it", digits, padding);
  if (rest == 2) out.push_back(static_cast<std::byte>(bits >> 4));
  if (rest == 3) {
    out.push_back(static_cast<std::byte>(bits >> 10));
    out.push_back(static_cast<std::byte>(bits >> 2));
  }
  return out;
}

}  // namespace

bool is_data_url(std::string_view source) {
  return begins_with_word(trim(source), kDataScheme);
}

std::vector<std::byte> data_of_url(std::string_view url) {
  const std::string_view text = trim(url);
  const size_t comma = text.substr(0, kLongestMediaType).find(',');
  const std::string_view head = text.substr(0, comma == text.npos ? 0 : comma);
  const size_t last = head.rfind(';');
  if (!is_data_url(text) || last == head.npos || !same_word(trim(head.substr(last + 1)), "base64"))
    fail("a data URL must begin with data:, a media type and ;base64, but this one begins with \"{}\"",
         printable(text, 40));
  return decode_base64(text.substr(comma + 1));
}

std::string data_url_of(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:;base64,";
  out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = i; k < i + 3; ++k)
      bits = bits << 8 | (k < bytes.size() ? static_cast<uint32_t>(bytes[k]) : 0);
    for (size_t digit = 0; digit < 4; ++digit)
      out += i + digit > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * digit) & 63];
  }
  return out;
}

std::filesystem::path local_path(const std::string& source) {
  if (begins_with_word(source, "http://") || begins_with_word(source, "https://"))
    fail("{} is on the network, and only local files are read: download it first", printable(source));
  constexpr std::string_view kFile = "file://";
  return begins_with_word(source, kFile) ? source.substr(kFile.size()) : source;
}

}  // namespace dvlm
