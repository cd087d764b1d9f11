// The instruction sets that a test of kernels can force on this machine.
#pragma once
#include <string>
#include <vector>

#include "kernels/targets.h"

namespace dvlm {

inline std::vector<std::string> isas() {
  std::vector<std::string> out;
  const std::string all = supported_isas();
  for (size_t at = 0; at < all.size();
       at = all.find(", ", at) == all.npos ? all.size() : all.find(", ", at) + 2) {
    out.push_back(all.substr(at, all.find(", ", at) - at));
  }
  if (all.find("AVX512_BF16") != all.npos) out.push_back("AMX_EMULATED");
  return out;
}

}  // namespace dvlm
