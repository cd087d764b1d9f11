#include "grammar/regex.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/utf8.h"
#include "grammar/code_ranges.h"

namespace dvlm {

namespace {

const std::vector<CodeRange> kDigits = {{'0', '9'}};
const std::vector<CodeRange> kWords = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const std::vector<CodeRange> kSpaces = {
    {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const std::vector<CodeRange> kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class RegexParser {
 public:
  RegexParser(Grammar& grammar, std::string_view pattern, const RegexOptions& options)
      : grammar_(grammar), options_(options), codes_(code_points(pattern)) {
    if (!is_valid_utf8(pattern)) fail("{}: the regular expression is not UTF-8", grammar.origin());
  }

  Expression parse() {
    const Expression out = alternatives(true);
    if (!done()) refuse("there is a ) without its (");
    return out;
  }

 private:
  bool done() const { return at_ >= codes_.size(); }
  char32_t peek(size_t ahead = 0) const { return at_ + ahead < codes_.size() ? codes_[at_ + ahead] : 0; }
  bool take(char32_t code) {
    if (done() || peek() != code) return false;
    ++at_;
    return true;
  }
  [[noreturn]] void refuse(std::string_view why) const {
    std::string before;
    for (size_t i = 0; i < std::min(at_, codes_.size()); ++i) append_utf8(before, codes_[i]);
    fail("{}: in the regular expression, behind \"{}\", {}", grammar_.origin(), printable(before), why);
  }

  Expression write(const std::vector<CodeRange>& ranges) {
    return options_.write ? options_.write(ranges) : grammar_.characters(ranges);
  }
  Expression anything() { return grammar_.repeat(write({{0, kMaxCode}}), 0, Grammar::kUnbounded); }

  // `outermost`: where ^ and $ have a meaning.
  Expression alternatives(bool outermost) {
    std::vector<Expression> out = {parts(outermost)};
    while (take('|')) out.push_back(parts(outermost));
    return grammar_.any_of(std::move(out));
  }

  Expression parts(bool outermost) {
    std::vector<Expression> out;
    const bool from_start = outermost && take('^');
    if (outermost && options_.anywhere && !from_start) out.push_back(anything());
    bool to_end = false;
    while (!done() && peek() != '|' && peek() != ')') {
      if (take('^')) refuse("^ stands inside: only the whole expression can begin there");
      if (take('$')) {
        to_end = outermost && (done() || peek() == '|');
        if (!to_end) refuse("$ stands inside: only the whole expression can end there");
        break;
      }
      out.push_back(quantified(atom()));
    }
    if (outermost && options_.anywhere && !to_end) out.push_back(anything());
    return grammar_.sequence(std::move(out));
  }

  Expression quantified(Expression what) {
    for (bool first = true;; first = false) {
      int least = 0, most = Grammar::kUnbounded;
      if (take('*')) {
      } else if (take('+')) {
        least = 1;
      } else if (take('?')) {
        most = 1;
      } else if (!counts(least, most)) {
        return what;
      }
      if (!first) refuse("a repetition is repeated: put the first into ( )");
      if (take('+')) refuse("possessive repetitions are not regular");
      take('?');  // lazy: the same texts
      what = grammar_.repeat(what, least, most);
    }
  }

  // {m}, {m,} or {m,n}; other braces stand for themselves, as in ECMAScript and Python.
  bool counts(int& least, int& most) {
    const size_t start = at_;
    if (!take('{')) return false;
    const auto low = number();
    if (!low && peek() == ',' && peek(1) >= '0' && peek(1) <= '9')
      refuse("{,n} means different things: write {0,n}");
    if (!low) return at_ = start, false;
    least = *low;
    most = least;
    if (take(',')) {
      most = Grammar::kUnbounded;
      if (const auto high = number()) most = *high;
    }
    if (!take('}')) return at_ = start, false;
    if (most != Grammar::kUnbounded && most < least) refuse("a repetition ends before it begins");
    return true;
  }

  std::optional<int> number() {
    constexpr int kMost = 10'000;
    if (peek() < '0' || peek() > '9') return std::nullopt;
    int out = 0;
    while (!done() && peek() >= '0' && peek() <= '9') {
      out = 10 * out + static_cast<int>(codes_[at_++] - '0');
      if (out > kMost) refuse("something is repeated more than 10,000 times");
    }
    return out;
  }

  Expression atom() {
    if (take('(')) return group();
    if (take('[')) return write(characters());
    if (take('.')) return write(all_but(kLineEnds));
    if (take('\\')) return write(escape(false));
    if (peek() == '*' || peek() == '+' || peek() == '?') refuse("there is nothing to repeat");
    const char32_t code = codes_[at_++];
    return write({{code, code}});
  }

  Expression group() {
    constexpr int kDeepest = 100;
    if (++depth_ > kDeepest) refuse("groups are nested more than 100 deep");
    if (take('?')) {
      if (!take(':')) {
        take('P');  // Python's way
        if (!take('<')) refuse("(? begins something that is not regular or not known");
        if (peek() == '=' || peek() == '!') refuse("lookbehind is not regular");
        while (!done() && peek() != '>') ++at_;
        if (!take('>')) refuse("the name of a group has no end");
      }
    }
    const Expression inside = alternatives(false);
    if (!take(')')) refuse("there is a ( without its )");
    --depth_;
    return inside;
  }

  // Behind [, to its ].
  std::vector<CodeRange> characters() {
    const bool negated = take('^');
    std::vector<CodeRange> out;
    if (peek() == ']') refuse("the set is empty: write \\] for a bracket");
    while (!take(']')) {
      if (done()) refuse("there is a [ without its ]");
      std::vector<CodeRange> from = one_of_set();
      const bool single = from.size() == 1 && from[0].first == from[0].second;
      if (single && peek() == '-' && at_ + 1 < codes_.size() && peek(1) != ']') {
        ++at_;
        const std::vector<CodeRange> to = one_of_set();
        if (to.size() != 1 || to[0].first != to[0].second || to[0].first < from[0].first)
          refuse("a range of characters ends before it begins");
        from[0].second = to[0].first;
      }
      out.insert(out.end(), from.begin(), from.end());
    }
    return negated ? all_but(std::move(out)) : out;
  }

  std::vector<CodeRange> one_of_set() {
    if (done()) refuse("there is a [ without its ]");
    if (take('\\')) return escape(true);
    const char32_t code = codes_[at_++];
    return {{code, code}};
  }

  // Behind a backslash.
  std::vector<CodeRange> escape(bool in_set) {
    if (done()) refuse("a backslash stands at the end");
    const char32_t code = codes_[at_++];
    const auto single = [](char32_t c) { return std::vector<CodeRange>{{c, c}}; };
    switch (code) {
      case 'd':
        return kDigits;
      case 'D':
        return all_but(kDigits);
      case 'w':
        return kWords;
      case 'W':
        return all_but(kWords);
      case 's':
        return kSpaces;
      case 'S':
        return all_but(kSpaces);
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 't':
        return single('\t');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case '0':
        if (peek() >= '0' && peek() <= '9') refuse("\\0 before a digit means different things: write \\x");
        return single(0);
      case 'x':
        return single(hexadecimal(2));
      case 'u':
        return single(code_unit());
      case 'b':
        if (in_set) return single('\b');
        refuse("\\b is not regular");
      default:
        break;
    }
    const bool letter = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
    if (letter || (code >= '1' && code <= '9'))
      refuse(fmt::format("\\{} is not regular or not known", static_cast<char>(code)));
    return single(code);
  }

  char32_t hexadecimal(int digits) {
    char32_t out = 0;
    for (int i = 0; i < digits; ++i) {
      const char32_t c = done() ? 0 : codes_[at_++];
      const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!letter && (c < '0' || c > '9')) refuse("an escape has too few hexadecimal digits");
      out = 16 * out + (letter ? (c | 0x20) - 'a' + 10 : c - '0');
    }
    return out;
  }

  // \uXXXX, two of which may be a pair of surrogates, or \u{...}.
  char32_t code_unit() {
    if (take('{')) {
      char32_t out = 0;
      while (!take('}')) {
        out = 16 * out + hexadecimal(1);
        if (out > kMaxCode) refuse("an escape is beyond Unicode");
      }
      return out;
    }
    const char32_t high = hexadecimal(4);
    if (high < 0xD800 || high > 0xDBFF || peek() != '\\' || peek(1) != 'u') return high;
    at_ += 2;
    const char32_t low = hexadecimal(4);
    if (low < 0xDC00 || low > 0xDFFF) refuse("half a pair of surrogates stands alone");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  Grammar& grammar_;
  const RegexOptions& options_;
  std::u32string codes_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Expression parse_regex(Grammar& grammar, std::string_view pattern, const RegexOptions& options) {
  return RegexParser(grammar, pattern, options).parse();
}

}  // namespace dvlm
