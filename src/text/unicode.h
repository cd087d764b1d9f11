// Character classes of the pre-tokenisation pattern, and Unicode normalisation form C.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dvlm {

enum CharClass : uint8_t {
  kLetter = 1,     // \p{L}
  kNumber = 2,     // \p{N}
  kSpace = 4,      // \s: White_Space
  kNewline = 8,    // \r or \n; kSpace is set as well
  kNotInert = 16,  // normalisation may change, reorder or compose this character with the one before it
};

// One byte of CharClass flags per code point; everything from kEnd on has none. The letters and numbers are
// those of Unicode 16, the reference's version, also where the system's utf8proc is older.
class CharClasses {
 public:
  static constexpr char32_t kEnd = 0x32400;
  static const CharClasses& get();

  uint8_t operator[](char32_t code) const { return code < kEnd ? flags_[code] : uint8_t{0}; }

 private:
  CharClasses();
  std::array<uint8_t, kEnd> flags_{};
};

// The character at `at` of a text that is known to be valid UTF-8; sets its length in bytes.
inline char32_t decode_valid_utf8(std::string_view text, size_t at, size_t& length) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return length = 1, lead;
  if (lead < 0xE0) return length = 2, (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  if (lead < 0xF0) return length = 3, (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return length = 4, (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

bool is_ascii(std::string_view text);

// Requires valid UTF-8. Returns `text` itself when it is in form C, else `storage`, which then holds the
// result. Linear in the text up to a sort of each run of combining marks.
std::string_view to_nfc(std::string_view text, std::string& storage);

}  // namespace dvlm
