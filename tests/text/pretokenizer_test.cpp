#include "text/pretokenizer.h"

#include <gtest/gtest.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <memory>

#include "core/utf8.h"
#include "text/lines.h"
#include "text/unicode.h"

namespace dvlm::test {
namespace {

// The pattern in PCRE2's words: its \s differs from White_Space by U+180E, so the class is spelled out.
class Oracle {
 public:
  Oracle() {
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
    EXPECT_TRUE(code_) << error << " at " << offset;
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
bool is_old(char32_t code) {
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

std::string without_new_characters(const std::string& line) {
  std::string text;
  for (size_t at = 0; at < line.size();) {
    const Utf8Char c = next_utf8(line, at);
    at += c.length;
    append_utf8(text, is_old(c.code) ? c.code : U'?');
  }
  return text;
}

TEST(Pretokenizer, CutsGeneratedLinesAsTheRegularExpressionDoes) {
  const Oracle oracle;
  const Lines lines;
  size_t tokens = 0;
  for (uint64_t index = 0; index < 60000; ++index) {
    const std::string line = without_new_characters(lines.line(index));
    for (size_t at = 0; at < line.size(); ++tokens) {
      const size_t end = pretoken_end(line, at);
      ASSERT_EQ(end, oracle.end(line, at)) << "line " << index << " at byte " << at << ": " << line;
      at = end;
    }
  }
  EXPECT_GT(tokens, 500'000u);
}

TEST(Pretokenizer, CutsEveryShortMixOfClassesAsTheRegularExpressionDoes) {
  const std::string units[] = {"a",        "S", "'",        " ",           "\t",       "\n",
                               "\r",       "7", "!",        "\xC5\xBF",    "\xC2\x85", "\xE3\x80\x80",
                               "\xC2\xA0", "L", "\xCC\x81", "\xE1\xA0\x8E"};
  constexpr size_t kUnits = std::size(units);
  const Oracle oracle;
  for (size_t code = 0; code < kUnits * kUnits * kUnits * kUnits; ++code) {
    std::string text;
    for (size_t rest = code, i = 0; i < 4; ++i, rest /= kUnits) text += units[rest % kUnits];
    for (size_t at = 0; at < text.size();) {
      const size_t end = pretoken_end(text, at);
      ASSERT_EQ(end, oracle.end(text, at)) << '"' << text << "\" at byte " << at;
      at = end;
    }
  }
}

std::string nfc_of_library(const std::string& text) {
  utf8proc_uint8_t* out = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
  std::string result(reinterpret_cast<const char*>(out));
  free(out);
  return result;
}

TEST(Normalization, AgreesWithUtf8procOnOldCharacters) {
  const Lines lines;
  int changed = 0;
  for (uint64_t index = 0; index < 60000; ++index) {
    std::string line = lines.line(index);
    std::erase(line, '\0');
    const uint64_t block = index % 50;  // and a dense mix of marks and the letters they join
    SplitMix random(index);
    for (int i = 0; i < 6; ++i) {
      append_utf8(line, static_cast<char32_t>('a' + random.below(26)));
      append_utf8(line, static_cast<char32_t>(0x300 + random.below(0x70)));
      append_utf8(line, static_cast<char32_t>(0x300 + random.below(0x70)));
      append_utf8(line, static_cast<char32_t>(0x1100 + random.below(0x100)));
      append_utf8(line, static_cast<char32_t>(0x900 + block * 8 + random.below(8)));
    }
    line = without_new_characters(line);
    std::string storage;
    const std::string ours(to_nfc(line, storage));
    ASSERT_EQ(ours, nfc_of_library(line)) << "line " << index;
    changed += ours != line;
  }
  EXPECT_GT(changed, 10000);
}

TEST(Unicode, one_byte_above_127_anywhere_makes_a_text_not_ascii) {
  for (size_t length = 1; length < 20; ++length) {
    EXPECT_TRUE(is_ascii(std::string(length, '\x7F')));
    for (size_t at = 0; at < length; ++at) {
      std::string text(length, 'a');
      text[at] = '\x80';
      EXPECT_FALSE(is_ascii(text)) << at << " of " << length;
    }
  }
}

}  // namespace
}  // namespace dvlm::test
