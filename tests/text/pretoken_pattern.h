// The pre-tokenisation pattern by a regular-expression engine, and texts in which both know every character.
#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"

namespace dvlm::test {

// The pattern in PCRE2's words: its \s differs from White_Space by U+180E, so the class is spelled out.
class PretokenPattern {
 public:
  PretokenPattern() {
    const std::string space =
        R"([\x09-\x0D \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}])";
    const std::string inner = space.substr(1, space.size() - 2);
    const std::string pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" +
                                inner + "\\p{L}\\p{N}]+[\\r\\n]*|" + space + "*[\\r\\n]+|" + space +
                                "+(?![^" + inner + "])|" + space + "+";
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    DVLM_ASSERT(code_);
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }

  size_t end(std::string_view text, size_t at) const {
    const int rc = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                               PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
    return rc < 0 ? at : pcre2_get_ovector_pointer(match_.get())[1];
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

// Whether PCRE2 10.42 (Unicode 14), utf8proc and the reference's normaliser (Unicode 9) class the character
// alike; the golden files are what decides about the others.
inline bool is_old(char32_t code) {
  for (const auto& [first, last] : {std::pair<char32_t, char32_t>{0x7F0, 0x8FF},
                                    {0x9FE, 0x9FE},
                                    {0xC3C, 0xC3C},
                                    {0xD3B, 0xD3C},
                                    {0xEBA, 0xEBA},
                                    {0x1715, 0x1715},
                                    {0x1AB0, 0x1AFF},
                                    {0x1C80, 0x1FFF},
                                    {0xA000, 0xABFF},
                                    {0x10000, 0x1F2FF},
                                    {0x1F900, 0x10FFFF}})
    if (code >= first && code <= last) return false;
  return true;
}

inline std::string without_new_characters(const std::string& line) {
  std::string text;
  for (size_t at = 0; at < line.size();) {
    const Utf8Char c = next_utf8(line, at);
    at += c.length;
    append_utf8(text, is_old(c.code) ? c.code : U'?');
  }
  return text;
}

}  // namespace dvlm::test
