// Data URLs from clients, against a plain decoder that takes the data apart in steps; and bytes that are
// encoded in the spellings of clients come back.
#include "core/data_url.h"

#include <optional>

#include "core/ascii.h"
#include "fuzzing.h"

namespace {

using namespace dvlm;

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string without_percents(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t high = i + 2 < text.size() ? kHex.find(lower(text[i + 1])) : kHex.npos,
                 low = i + 2 < text.size() ? kHex.find(lower(text[i + 2])) : kHex.npos;
    const bool coded = text[i] == '%' && high != kHex.npos && low != kHex.npos;
    out += coded ? static_cast<char>(16 * high + low) : text[i];
    if (coded) i += 2;
  }
  return out;
}

// The bytes, or nothing for what is no base64.
std::optional<std::string> plain_base64(std::string_view data) {
  std::string text;
  for (const char c : without_percents(data))
    if (!trim({&c, 1}).empty()) text += c == '-' ? '+' : c == '_' ? '/' : c;
  const size_t digits = std::min(text.find('='), text.size()), padding = text.size() - digits;
  if (text.find_first_not_of('=', digits) != text.npos || text.find_first_not_of(kDigits) < digits) return {};
  if (digits % 4 == 1 || padding > 2 || (padding > 0 && (digits + padding) % 4 != 0)) return {};
  std::string out, bits;
  for (const char c : text.substr(0, digits))
    for (int bit = 5; bit >= 0; --bit) bits += kDigits.find(c) >> bit & 1 ? '1' : '0';
  for (size_t i = 0; i + 8 <= bits.size(); i += 8)
    out += static_cast<char>(std::stoi(bits.substr(i, 8), nullptr, 2));
  return out;
}

void check(std::string_view url) {
  std::optional<std::string> found;
  if (fuzz::accepts([&] {
        const std::vector<std::byte> bytes = data_of_url(url);
        found.emplace(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }))
    DVLM_ASSERT(is_data_url(url) && found == plain_base64(trim(url).substr(trim(url).find(',') + 1)));
}

// With line breaks, percents and padding as `style` says.
std::string encoded(std::string_view bytes, uint32_t style) {
  std::string bits, out = style & 1 ? " DATA:image/png;x=y;BASE64," : "data:;base64,";
  for (const char c : bytes)
    for (int bit = 7; bit >= 0; --bit) bits += static_cast<unsigned char>(c) >> bit & 1 ? '1' : '0';
  while (bits.size() % 6 != 0) bits += '0';
  for (size_t i = 0; i < bits.size(); i += 6) {
    const char digit = kDigits[static_cast<size_t>(std::stoi(bits.substr(i, 6), nullptr, 2))];
    const bool other = style & 2;
    out += digit == '+' && other       ? "-"
           : digit == '/' && other     ? "_"
           : digit == '+' && style & 4 ? "%2b"
                                       : std::string(1, digit);
    if (style & 8 && i % 36 == 0) out += "\r\n";
  }
  if (style & 16) out += bytes.size() % 3 == 1 ? "==" : bytes.size() % 3 == 2 ? "%3D" : "";
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  check(text);
  check("data:image/png;base64," + std::string(text));
  const auto bytes = data_of_url(encoded(text, size == 0 ? 0 : data[0]));
  DVLM_ASSERT(std::equal(bytes.begin(), bytes.end(), reinterpret_cast<const std::byte*>(data)) &&
              bytes.size() == size);
  const auto plain = plain_base64(text);
  DVLM_ASSERT(fuzz::accepts([&] { static_cast<void>(data_of_url("data:;base64," + std::string(text))); }) ==
              plain.has_value());
  return 0;
}
