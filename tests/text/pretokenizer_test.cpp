#include "text/pretokenizer.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include "core/utf8.h"
#include "text/lines.h"
#include "text/pretoken_pattern.h"
#include "text/unicode.h"

namespace dvlm::test {
namespace {

TEST(Pretokenizer, CutsGeneratedLinesAsTheRegularExpressionDoes) {
  const PretokenPattern oracle;
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
  const PretokenPattern oracle;
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
