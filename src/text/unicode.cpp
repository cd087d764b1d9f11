#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/utf8.h"

namespace dvlm {
namespace {

bool is_between(utf8proc_category_t category, utf8proc_category_t low, utf8proc_category_t high) {
  return category >= low && category <= high;
}

// Canonical decomposition of one character, applied fully.
std::vector<utf8proc_int32_t> decompose(char32_t code) {
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
    if (property->combining_class != 0) flags |= kNotInert;
    const auto decomposed = decompose(code);
    if (decomposed.size() == 1 && static_cast<char32_t>(decomposed[0]) == code) continue;
    std::string composed, itself;
    auto codes = decomposed;
    compose_and_append(codes, composed);
    append_utf8(itself, code);
    if (composed != itself) flags |= kNotInert;
    for (size_t i = 1; i < decomposed.size(); ++i) flags_[static_cast<size_t>(decomposed[i])] |= kNotInert;
  }
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
  return std::all_of(text.begin() + static_cast<ptrdiff_t>(at), text.end(), [](char c) { return c >= 0; });
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
