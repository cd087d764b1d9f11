// Sets of characters.
#pragma once
#include <algorithm>
#include <vector>

#include "grammar/grammar.h"

namespace dvlm {

constexpr char32_t kMaxCode = 0x10FFFF;

// Every character that is in none of the ranges.
inline std::vector<CodeRange> all_but(std::vector<CodeRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<CodeRange> out;
  char32_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) out.emplace_back(next, first - 1);
    next = std::max<char32_t>(next, last + 1);
  }
  if (next <= kMaxCode) out.emplace_back(next, kMaxCode);
  return out;
}

}  // namespace dvlm
