#include "grammar/decimals.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dvlm {

namespace {

using Digits = std::optional<std::string_view>;  // of a fraction that bounds another; none: no bound

// Of a number that is not negative.
struct Bound {
  int64_t whole = 0;
  std::string fraction = {};  // digits behind the point, without zeros at the end
  bool exclusive = false;
};

class Decimals {
 public:
  explicit Decimals(Grammar& grammar) : grammar_(grammar) {}

  Expression between(const NumberRange& range) {
    const auto& [least, most, fraction_digits] = range;
    std::vector<Expression> out;
    if (!most || most->value >= 0) {
      const Bound low = least && least->value >= 0 ? bound_of(*least) : Bound{};
      out.push_back(positive(low, most ? std::optional(bound_of(*most)) : std::nullopt, fraction_digits));
    }
    if (!least || least->value < 0) {
      const Bound low = most && most->value < 0 ? bound_of(*most) : Bound{0, {}, true};
      const auto high = least ? std::optional(bound_of(*least)) : std::nullopt;
      out.push_back(grammar_.sequence({grammar_.literal("-"), positive(low, high, fraction_digits)}));
    }
    return grammar_.any_of(std::move(out));
  }

 private:
  Bound bound_of(const NumberBound& bound) const {
    constexpr int kMaxDigits = 18;
    if (!std::isfinite(bound.value)) fail("{}: a bound of numbers is not finite", grammar_.origin());
    const std::string text = fmt::format("{}", std::abs(bound.value));  // "12.5", "1e-07", "3e+20"
    const size_t e = std::min(text.find('e'), text.size());
    const int exponent = e < text.size() ? std::atoi(text.c_str() + e + 1) : 0;
    std::string digits = text.substr(0, e);
    const size_t point = std::min(digits.find('.'), digits.size());
    if (point < digits.size()) digits.erase(point, 1);
    int whole = static_cast<int>(point) + exponent;  // digits before the point
    if (whole > kMaxDigits || static_cast<int>(digits.size()) - whole > 2 * kMaxDigits)
      fail("{}: the bound {} has more than {} digits", grammar_.origin(), text, kMaxDigits);
    if (whole < 0) digits.insert(0, static_cast<size_t>(-whole), '0'), whole = 0;
    digits.resize(std::max(digits.size(), static_cast<size_t>(whole)), '0');
    Bound out{0, digits.substr(static_cast<size_t>(whole)), bound.exclusive};
    for (const char digit : digits.substr(0, static_cast<size_t>(whole)))
      out.whole = 10 * out.whole + (digit - '0');
    while (out.fraction.ends_with('0')) out.fraction.pop_back();
    return out;
  }

  Expression positive(const Bound& least, const std::optional<Bound>& most, int fraction_digits) {
    if (fraction_digits == 0) {
      const bool above = least.exclusive || !least.fraction.empty();
      const int64_t first = least.whole + (above ? 1 : 0);
      return most ? wholes(first, most->whole - (most->exclusive && most->fraction.empty() ? 1 : 0))
                  : wholes(first, largest(first));
    }
    const int64_t last = most ? most->whole : largest(least.whole) + 1;
    const Expression any_fraction = fraction({}, false, {}, false, fraction_digits);
    const auto number = [&](int64_t whole, Expression rest) {
      return grammar_.sequence({grammar_.literal(std::to_string(whole)), rest});
    };
    std::vector<Expression> out = {grammar_.sequence({wholes(least.whole + 1, last - 1), any_fraction})};
    const Digits above = least.fraction;
    const Digits below = most ? Digits(most->fraction) : Digits();
    if (most && least.whole == last) {
      out.push_back(number(last, fraction(above, least.exclusive, below, most->exclusive, fraction_digits)));
    } else if (least.whole < last) {
      out.push_back(number(least.whole, fraction(above, least.exclusive, {}, false, fraction_digits)));
      if (most) out.push_back(number(last, fraction({}, false, below, most->exclusive, fraction_digits)));
    }
    return grammar_.any_of(std::move(out));
  }

  // Where nothing bounds a number of which this is the least.
  static int64_t largest(int64_t least) {
    constexpr int64_t kUsual = 9'999'999'999'999'999, kMost = 999'999'999'999'999'999;
    return least < kUsual ? kUsual : kMost;
  }

  Expression digits(char first, char last, int least = 1, int most = 1) {
    ByteSet set;
    for (char c = first; c <= last; ++c) set.set(static_cast<uint8_t>(c));
    return grammar_.repeat(grammar_.bytes(set), least, most);
  }

  // Whole numbers in [first, last].
  Expression wholes(int64_t first, int64_t last) {
    std::vector<Expression> out;
    int64_t from = 0, until = 9;  // of one length
    for (int length = 1;; ++length) {
      const int64_t low = std::max(first, from), high = std::min(last, until);
      if (low <= high) out.push_back(same_length(std::to_string(low), std::to_string(high)));
      if (length == 18) break;  // the next one would not fit
      from = until + 1;
      until = 10 * until + 9;
    }
    return grammar_.any_of(std::move(out));
  }

  Expression same_length(std::string_view low, std::string_view high) {
    if (low.empty()) return grammar_.literal("");
    const int rest = static_cast<int>(low.size()) - 1;
    const bool any = low.find_first_not_of('0') == std::string_view::npos &&
                     high.find_first_not_of('9') == std::string_view::npos;
    if (any) return digits('0', '9', rest + 1, rest + 1);
    const auto then = [&](char first, char last, std::string_view least, std::string_view most) {
      return grammar_.sequence({digits(first, last), same_length(least, most)});
    };
    if (low[0] == high[0]) return then(low[0], low[0], low.substr(1), high.substr(1));
    const std::string zeros(static_cast<size_t>(rest), '0'), nines(static_cast<size_t>(rest), '9');
    std::vector<Expression> out = {then(low[0], low[0], low.substr(1), nines),
                                   then(high[0], high[0], zeros, high.substr(1))};
    if (low[0] + 1 < high[0])
      out.push_back(then(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1), zeros, nines));
    return grammar_.any_of(std::move(out));
  }

  // What stands behind a whole number whose fraction is at least or `above` one and at most or `below`
  // another.
  Expression fraction(Digits least, bool above, Digits most, bool below, int room) {
    std::vector<Expression> out = {
        grammar_.sequence({grammar_.literal("."), tail(least, above, most, below, room, false)})};
    if (may_end(least, above, most, below)) out.push_back(grammar_.literal(""));
    return grammar_.any_of(std::move(out));
  }

  static bool may_end(const Digits& least, bool above, const Digits& most, bool below) {
    return (!least || (least->empty() && !above)) && (!most || !most->empty() || !below);
  }

  // Digits of such a fraction, from some place on.
  Expression tail(Digits least, bool above, Digits most, bool below, int room, bool end) {
    if (least && least->empty() && !above) least.reset();
    std::vector<Expression> out;
    if (end && may_end(least, above, most, below)) out.push_back(grammar_.literal(""));
    if (room == 0) return grammar_.any_of(std::move(out));
    const auto first_of = [](const Digits& digits) { return digits->empty() ? '0' : (*digits)[0]; };
    const auto rest_of = [](const Digits& digits) { return Digits(digits->substr(digits->empty() ? 0 : 1)); };
    const auto then = [&](char digit, const Digits& low, const Digits& high) {
      out.push_back(grammar_.sequence({digits(digit, digit), tail(low, above, high, below, room - 1, true)}));
    };
    const char low = least ? first_of(least) : '0', high = most ? first_of(most) : '9';
    const char free_from = least ? static_cast<char>(low + 1) : low;
    const char free_to = most ? static_cast<char>(high - 1) : high;
    if (free_from <= free_to)
      out.push_back(grammar_.sequence({digits(free_from, free_to), digits('0', '9', 0, room - 1)}));
    if (least && most && low == high) {
      then(low, rest_of(least), rest_of(most));
    } else if (low <= high) {
      if (least) then(low, rest_of(least), {});
      if (most) then(high, {}, rest_of(most));
    }
    return grammar_.any_of(std::move(out));
  }

  Grammar& grammar_;
};

}  // namespace

Expression decimals(Grammar& grammar, const NumberRange& range) {
  return Decimals(grammar).between(range);
}

}  // namespace dvlm
