// Decimal numbers between bounds, digit by digit.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "grammar/grammar.h"

namespace dvlm {

struct NumberBound {
  double value = 0;
  bool exclusive = false;
};

struct NumberRange {
  std::optional<NumberBound> least, most;
  int fraction_digits = 16;  // at most; 0: integers
};

// Adds the numbers of the range to the grammar, as JSON writes them without exponents; where nothing bounds
// them, with at most 16 digits before the point. Throws Error for bounds of more than 18 digits.
Expression decimals(Grammar& grammar, const NumberRange& range);

}  // namespace dvlm
