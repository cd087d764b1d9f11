// The instruction set that others are compared with: Highway's own loops, of one name or the other.
#pragma once
#include <algorithm>

#include "kernels/isas.h"

namespace dvlm::fuzz {

inline const std::string& plain_isa() {
  static const std::vector<std::string> sets = isas();
  const auto found = std::find_if(
      sets.begin(), sets.end(), [](const std::string& name) { return name == "SCALAR" || name == "EMU128"; });
  return found == sets.end() ? sets.front() : *found;
}

}  // namespace dvlm::fuzz
