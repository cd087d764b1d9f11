#include "evaluate/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "core/ascii.h"
#include "core/utf8.h"

namespace dvlm::python {

namespace {

template <class Take>
void each_character(std::string_view text, const Take& take) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = next_utf8(text, at);
    take(c.code, text.substr(at, c.length));
    at += c.length;
  }
}

bool is_cased(char32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

// Characters that str.upper() writes as two or three (SpecialCasing.txt, Latin and Armenian).
size_t upper_characters(char32_t code) {
  constexpr std::array<char32_t, 16> kTwo = {0xDF,   0x149,  0x1F0,  0x587,  0x1E96, 0x1E97, 0x1E98, 0x1E99,
                                             0x1E9A, 0xFB00, 0xFB01, 0xFB02, 0xFB05, 0xFB06, 0xFB13, 0xFB14};
  if (std::ranges::find(kTwo, code) != kTwo.end()) return 2;
  return code == 0xFB03 || code == 0xFB04 || code == 0x390 || code == 0x3B0 ? 3 : 1;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Digits of all scripts stand in order, ten to a row.
std::string with_ascii_digits(std::string_view text) {
  const auto is_decimal = [](char32_t code) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_ND;
  };
  std::string out;
  each_character(text, [&](char32_t code, std::string_view bytes) {
    if (code < 128 || !is_decimal(code)) {
      out += bytes;
      return;
    }
    char32_t zero = code;
    while (is_decimal(zero - 1)) --zero;
    out += static_cast<char>('0' + (code - zero) % 10);
  });
  return out;
}

}  // namespace

bool is_space(char32_t code) {
  return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  each_character(text, [&](char32_t code, std::string_view bytes) {
    if (is_space(code)) {
      inside = false;
      return;
    }
    if (!inside) words.emplace_back();
    inside = true;
    words.back() += bytes;
  });
  return words;
}

std::string strip(std::string_view text) {
  size_t at = 0, begin = text.size(), end = text.size();
  each_character(text, [&](char32_t code, std::string_view bytes) {
    if (!is_space(code)) begin = std::min(begin, at), end = at + bytes.size();
    at += bytes.size();
  });
  return std::string(text.substr(begin, end - std::min(begin, end)));
}

std::string lower(std::string_view text) {
  std::string out;
  bool behind_cased = false;
  size_t at = 0;
  each_character(text, [&](char32_t code, std::string_view bytes) {
    at += bytes.size();
    const bool ends_word = at == text.size() || !is_cased(next_utf8(text, at).code);
    if (code == 0x130)
      out += "i\u0307";
    else if (code == 0x3A3 && behind_cased && ends_word)
      out += "\u03C2";  // a sigma at the end of a word
    else
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
    behind_cased = is_cased(code);
  });
  return out;
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

size_t length(std::string_view text) {
  size_t count = 0;
  each_character(text, [&](char32_t, std::string_view) { ++count; });
  return count;
}

size_t upper_length(std::string_view text) {
  size_t count = 0;
  each_character(text, [&](char32_t code, std::string_view) { count += upper_characters(code); });
  return count;
}

std::optional<double> to_float(std::string_view raw) {
  std::string text = with_ascii_digits(strip(raw));
  for (size_t at = 0; (at = text.find('_', at)) != std::string::npos; text.erase(at, 1))
    if (at == 0 || at + 1 == text.size() || !is_digit(text[at - 1]) || !is_digit(text[at + 1]))
      return std::nullopt;
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  double value = 0;
  if (same_word(rest, "inf") || same_word(rest, "infinity")) {
    value = std::numeric_limits<double>::infinity();
  } else if (same_word(rest, "nan")) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (rest.empty() || !(is_digit(rest[0]) || rest[0] == '.')) return std::nullopt;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (end != rest.data() + rest.size() || error == std::errc::invalid_argument) return std::nullopt;
    // Beyond what a double holds from_chars leaves the value as it was.
    if (error == std::errc::result_out_of_range) value = std::strtod(std::string(rest).c_str(), nullptr);
  }
  return negative ? -value : value;
}

namespace {

// Reads one literal of a list at text[at] and moves behind it.
std::optional<std::string> literal(std::string_view text, size_t& at) {
  const char quote = text[at];
  std::string out;
  if (quote != '\'' && quote != '"') {
    const size_t end = std::min(text.find_first_of(",]", at), text.size());
    out = trim(text.substr(at, end - at));
    at = end;
    const bool named = out == "None" || out == "True" || out == "False";
    return named || to_float(out) ? std::optional(out) : std::nullopt;
  }
  for (++at; at < text.size() && text[at] != quote; ++at) {
    if (text[at] != '\\') {
      out += text[at];
      continue;
    }
    if (++at == text.size()) return std::nullopt;
    constexpr std::string_view kNames = "\\'\"ntr", kValues = "\\'\"\n\t\r";
    const size_t width = text[at] == 'x' ? 2 : text[at] == 'u' ? 4 : text[at] == 'U' ? 8 : 0;
    if (width > 0) {
      uint32_t code = 0;
      const char* from = text.data() + at + 1;
      if (text.size() - at <= width || std::from_chars(from, from + width, code, 16).ptr != from + width)
        return std::nullopt;
      append_utf8(out, code);
      at += width;
    } else if (const size_t named = kNames.find(text[at]); named != kNames.npos) {
      out += kValues[named];
    } else {
      (out += '\\') += text[at];
    }
  }
  if (at++ >= text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::optional<std::vector<std::string>> list_of(std::string_view raw) {
  const std::string_view text = trim(raw);
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return std::nullopt;
  std::vector<std::string> out;
  const auto skip = [&](size_t& at) {
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size() - 1);
  };
  for (size_t at = 1; skip(at), text[at] != ']' || at + 1 != text.size();) {
    const auto value = literal(text, at);
    if (!value || at >= text.size()) return std::nullopt;
    out.push_back(*value);
    skip(at);
    if (text[at] == ',')
      ++at;
    else if (at + 1 != text.size())
      return std::nullopt;
  }
  return out;
}

}  // namespace dvlm::python
