#include "grammar/gbnf.h"

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "grammar/code_ranges.h"

namespace dvlm {

namespace {

class GbnfParser {
 public:
  GbnfParser(Grammar& grammar, std::string_view text) : grammar_(grammar), text_(text) {
    if (!is_valid_utf8(text)) fail("{}: the grammar is not UTF-8", grammar.origin());
  }

  void parse() {
    skip(true);
    while (!done()) {
      const std::string name = rule_name();
      if (name.empty()) refuse("a rule must begin here: name ::= ...");
      skip(false);
      if (!take("::=")) refuse("behind the name of a rule ::= must follow");
      skip(true);
      grammar_.define(name, alternatives(false));
      if (!done() && text_[at_] != '\n' && text_[at_] != '\r') refuse("this is not part of a rule");
      skip(true);
    }
    if (!grammar_.defines("root")) fail("{}: no rule is called root, where texts begin", grammar_.origin());
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  [[noreturn]] void refuse(std::string_view why) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    const std::string_view rest = text_.substr(at_, text_.substr(at_).find('\n'));
    fail("{}: line {} of the grammar, at \"{}\": {}", grammar_.origin(), line, printable(rest, 40), why);
  }

  // Spaces and comments; line ends where a rule may go on behind one.
  void skip(bool lines) {
    while (!done()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string rule_name() {
    const auto belongs = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
             c == '_';
    };
    const size_t first = at_;
    while (!done() && belongs(text_[at_])) ++at_;
    return std::string(text_.substr(first, at_ - first));
  }

  Expression alternatives(bool nested) {
    std::vector<Expression> out = {sequence(nested)};
    while (take("|")) {
      skip(true);
      out.push_back(sequence(nested));
    }
    return grammar_.any_of(std::move(out));
  }

  Expression sequence(bool nested) {
    std::vector<Expression> out;
    while (!done() && peek() != '|' && peek() != ')' && peek() != '\n' && peek() != '\r') {
      Expression item = atom();
      skip(nested);
      while (repeats(item)) skip(nested);
      out.push_back(item);
    }
    return grammar_.sequence(std::move(out));
  }

  Expression atom() {
    if (take("\"")) return literal();
    if (take("[")) return set();
    if (take(".")) return grammar_.characters({{0, kMaxCode}});
    if (take("(")) {
      constexpr int kDeepest = 100;
      if (++depth_ > kDeepest) refuse("parentheses are nested more than 100 deep");
      skip(true);
      const Expression out = alternatives(true);
      if (!take(")")) refuse("there is a ( without its )");
      --depth_;
      return out;
    }
    if (peek() == '<' || peek() == '!') refuse("names of tokens are not supported, write their text");
    const std::string name = rule_name();
    if (name.empty()) refuse("this is not part of a rule");
    return grammar_.rule(name);
  }

  bool repeats(Expression& item) {
    if (take("*")) return item = grammar_.repeat(item, 0, Grammar::kUnbounded), true;
    if (take("+")) return item = grammar_.repeat(item, 1, Grammar::kUnbounded), true;
    if (take("?")) return item = grammar_.repeat(item, 0, 1), true;
    if (!take("{")) return false;
    skip(false);
    const int least = number();
    int most = least;
    skip(false);
    if (take(",")) {
      skip(false);
      most = peek() == '}' ? Grammar::kUnbounded : number();
      skip(false);
    }
    if (!take("}")) refuse("there is a { without its }");
    if (most != Grammar::kUnbounded && most < least) refuse("a repetition ends before it begins");
    item = grammar_.repeat(item, least, most);
    return true;
  }

  int number() {
    constexpr int kMost = 10'000;
    int out = 0;
    if (peek() < '0' || peek() > '9') refuse("a number of repetitions must stand here");
    while (peek() >= '0' && peek() <= '9') {
      out = 10 * out + (text_[at_++] - '0');
      if (out > kMost) refuse("something is repeated more than 10,000 times");
    }
    return out;
  }

  Expression literal() {
    std::string out;
    while (!take("\"")) {
      if (done()) refuse("there is a \" without its second");
      append_utf8(out, character());
    }
    return grammar_.literal(out);
  }

  Expression set() {
    const bool negated = take("^");
    std::vector<CodeRange> out;
    while (!take("]")) {
      if (done()) refuse("there is a [ without its ]");
      const char32_t first = character();
      char32_t last = first;
      const std::string_view rest = text_.substr(at_);
      if (rest.size() > 1 && rest[0] == '-' && rest[1] != ']') {
        ++at_;
        last = character();
        if (last < first) refuse("a range of characters ends before it begins");
      }
      out.emplace_back(first, last);
    }
    return grammar_.characters(negated ? all_but(std::move(out)) : out);
  }

  char32_t character() {
    const Utf8Char c = next_utf8(text_, at_);
    at_ += c.length;
    const char32_t code = c.code == '\\' ? escape() : c.code;
    if (code >= 0xD800 && code <= 0xDFFF) refuse("half a pair of surrogates is no character");
    return code;
  }

  char32_t escape() {
    if (done()) refuse("a backslash stands at the end");
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hexadecimal(2);
      case 'u':
        return hexadecimal(4);
      case 'U':
        return hexadecimal(8);
      default:
        break;
    }
    if (std::string_view("\\\"[]-^").find(c) == std::string_view::npos) refuse("this escape is not known");
    return static_cast<char32_t>(c);
  }

  char32_t hexadecimal(int digits) {
    char32_t out = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek();
      const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (done() || (!letter && (c < '0' || c > '9'))) refuse("an escape has too few hexadecimal digits");
      out = 16 * out + static_cast<char32_t>(letter ? (c | 0x20) - 'a' + 10 : c - '0');
      ++at_;
    }
    if (out > kMaxCode) refuse("an escape is beyond Unicode");
    return out;
  }

  Grammar& grammar_;
  const std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

void parse_gbnf(Grammar& grammar, std::string_view text) {
  GbnfParser(grammar, text).parse();
}

}  // namespace dvlm
