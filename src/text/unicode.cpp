#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/utf8.h"

namespace dvlm {
namespace {

struct Range {
  char32_t first, last;
};

// Letters and numbers that came with Unicode 15.1 and 16: the reference's regular expressions know them,
// Debian 12's utf8proc does not.
constexpr Range kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
constexpr Range kNewNumbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};

// The reference normalises by Unicode 9: marks and composites that came later pass through it untouched,
// where a newer table would reorder or compose them.
constexpr Range kUnknownToNormalizer[] = {
    {0x07FD, 0x07FD},   {0x0897, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},   {0x0C3C, 0x0C3C},
    {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},   {0x1ABF, 0x1ADD},   {0x1AE0, 0x1AEB},
    {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C0, 0x105F3}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D},
    {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x11380, 0x113E2}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16100, 0x1612F}, {0x16D40, 0x16D6C},
    {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6F5},
};

bool is_in(std::span<const Range> ranges, char32_t code) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](char32_t value, const Range& range) { return value < range.first; });
  return after != ranges.begin() && code <= std::prev(after)->last;
}

bool is_between(utf8proc_category_t category, utf8proc_category_t low, utf8proc_category_t high) {
  return category >= low && category <= high;
}

// Canonical decomposition of one character, applied fully.
std::vector<utf8proc_int32_t> decompose(char32_t code) {
  if (is_in(kUnknownToNormalizer, code)) return {static_cast<utf8proc_int32_t>(code)};
  std::vector<utf8proc_int32_t> out(8);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  int last_boundary = 0;
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), out.data(),
                              static_cast<utf8proc_ssize_t>(out.size()), options, &last_boundary);
  DVLM_ASSERT(count >= 0 && count <= static_cast<utf8proc_ssize_t>(out.size()));
  out.resize(static_cast<size_t>(count));
  return out;
}

unsigned combining_class(utf8proc_int32_t code) {
  if (is_in(kUnknownToNormalizer, static_cast<char32_t>(code))) return 0;
  return static_cast<unsigned>(utf8proc_get_property(code)->combining_class);
}

void compose_and_append(std::vector<utf8proc_int32_t>& codes, std::string& out) {
  for (size_t i = 0; i < codes.size();) {
    size_t end = i;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(i), codes.begin() + static_cast<ptrdiff_t>(end),
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    i = end + 1;
  }
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto count =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), options);
  DVLM_ASSERT(count >= 0);
  for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(codes[i]));
}

}  // namespace

CharClasses::CharClasses() {
  for (char32_t code = 0; code < kEnd; ++code) {
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
    const auto category = static_cast<utf8proc_category_t>(property->category);
    uint8_t& flags = flags_[code];
    if (is_between(category, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO)) flags |= kLetter;
    if (is_between(category, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO)) flags |= kNumber;
    if (is_between(category, UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZP)) flags |= kSpace;
    if (combining_class(static_cast<utf8proc_int32_t>(code)) != 0) flags |= kNotInert;
    const auto decomposed = decompose(code);
    if (decomposed.size() == 1 && static_cast<char32_t>(decomposed[0]) == code) continue;
    std::string composed, itself;
    auto codes = decomposed;
    compose_and_append(codes, composed);
    append_utf8(itself, code);
    if (composed != itself) flags |= kNotInert;
    for (size_t i = 1; i < decomposed.size(); ++i) flags_[static_cast<size_t>(decomposed[i])] |= kNotInert;
  }
  for (const Range& range : kNewLetters)
    for (char32_t code = range.first; code <= range.last; ++code) flags_[code] |= kLetter;
  for (const Range& range : kNewNumbers)
    for (char32_t code = range.first; code <= range.last; ++code) flags_[code] |= kNumber;
  for (const char32_t code : {U'\t', U'\n', U'\v', U'\f', U'\r', U'\u0085'}) flags_[code] |= kSpace;
  flags_[U'\n'] |= kNewline;
  flags_[U'\r'] |= kNewline;
}

const CharClasses& CharClasses::get() {
  static const CharClasses* const classes = new CharClasses;
  return *classes;
}

bool is_ascii(std::string_view text) {
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if (word & 0x8080808080808080u) return false;
  }
  return std::all_of(text.begin() + static_cast<ptrdiff_t>(at), text.end(),
                     [](unsigned char c) { return c < 0x80; });  // char has no sign on ARM
}

std::string_view to_nfc(std::string_view text, std::string& storage) {
  const CharClasses& classes = CharClasses::get();
  storage.clear();
  std::vector<utf8proc_int32_t> codes;
  size_t copied = 0, previous = 0;  // everything before `copied` is in storage; `previous` starts a character
  for (size_t at = 0, length = 0; at < text.size(); previous = at, at += length) {
    if (!(classes[decode_valid_utf8(text, at, length)] & kNotInert)) continue;
    // From the inert character before to the next inert one: nothing beyond can take part.
    const size_t begin = at == 0 ? 0 : std::max(previous, copied);
    storage.append(text, copied, begin - copied);
    codes.clear();
    for (copied = begin; copied < text.size(); copied += length) {
      const char32_t code = decode_valid_utf8(text, copied, length);
      if (copied >= at && !(classes[code] & kNotInert)) break;
      for (const auto part : decompose(code)) codes.push_back(part);
    }
    compose_and_append(codes, storage);
    at = copied, length = 0;
  }
  if (copied == 0) return text;
  storage.append(text, copied);
  return storage;
}

}  // namespace dvlm
