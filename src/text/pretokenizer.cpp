#include "text/pretokenizer.h"

#include "text/unicode.h"

namespace dvlm {

const std::string_view kPretokenPattern =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), classes_(CharClasses::get()) {}

  // Flags of the character at `at`; sets `next` to its end.
  uint8_t look(size_t at, size_t& next) const {
    size_t length = 0;
    const char32_t code = decode_valid_utf8(text_, at, length);
    next = at + length;
    return classes_[code];
  }

  template <class Accept>
  size_t skip(size_t at, Accept accept) const {
    for (size_t next = 0; at < text_.size() && accept(look(at, next)); at = next) {
    }
    return at;
  }

  size_t letters(size_t at) const {
    return skip(at, [](uint8_t flags) { return flags & kLetter; });
  }
  size_t symbols_and_newlines(size_t at) const {
    at = skip(at, [](uint8_t flags) { return !(flags & (kLetter | kNumber | kSpace)); });
    return skip(at, [](uint8_t flags) { return flags & kNewline; });
  }

  // The end of 's, 't, 're, 've, 'm, 'll or 'd in any case, given that an apostrophe is at `at`; 0 when there
  // is none.
  size_t contraction(size_t at) const {
    const auto lower = [&](size_t i) -> char {
      return i < text_.size() ? static_cast<char>(text_[i] | 0x20) : '\0';
    };
    const char first = lower(at + 1), second = lower(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    if (first == 'l' && second == 'l') return at + 3;
    // U+017F, the long s, folds to s.
    return text_.substr(at + 1, 2) == "\xC5\xBF" ? at + 3 : 0;
  }

  // The last three alternatives: up to the last newline of the run, else all but its last character when text
  // follows.
  size_t spaces(size_t at) const {
    size_t end = at, last = at, after_newline = 0;
    for (size_t next = 0; end < text_.size(); end = next) {
      const uint8_t flags = look(end, next);
      if (!(flags & kSpace)) break;
      last = end;
      if (flags & kNewline) after_newline = next;
    }
    if (after_newline != 0) return after_newline;
    return end == text_.size() || last == at ? end : last;
  }

 private:
  std::string_view text_;
  const CharClasses& classes_;
};

}  // namespace

size_t pretoken_end(std::string_view text, size_t at) {
  const Scanner scan(text);
  size_t next = 0, after = 0;
  if (text[at] == '\'') {
    if (const size_t end = scan.contraction(at)) return end;
  }
  const uint8_t flags = scan.look(at, next);
  if (flags & kLetter) return scan.letters(next);
  if (flags & kNumber) return next;
  const uint8_t following = next < text.size() ? scan.look(next, after) : uint8_t{kSpace};
  if (!(flags & kNewline) && (following & kLetter)) return scan.letters(after);
  if (!(flags & kSpace)) return scan.symbols_and_newlines(next);
  if (text[at] == ' ' && !(following & (kLetter | kNumber | kSpace))) return scan.symbols_and_newlines(after);
  return scan.spaces(at);
}

}  // namespace dvlm
