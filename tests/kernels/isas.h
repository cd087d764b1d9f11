// The instruction sets that a test of kernels can force on this machine.
#pragma once
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/targets.h"

namespace dvlm {

inline std::vector<std::string> isas() {
  std::vector<std::string> out;
  for (const Isa& isa : all_isas())
    if (isa.supported()) out.emplace_back(isa.name);
  return out;
}

}  // namespace dvlm
