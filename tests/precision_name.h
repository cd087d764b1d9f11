// A precision's name in those of the tests that take one.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "model/options.h"

namespace dvlm {

inline std::string precision_name(const testing::TestParamInfo<Precision>& test) {
  constexpr const char* kNames[] = {"automatic", "f32", "bf16", "int8", "int4"};
  return kNames[static_cast<size_t>(test.param)];
}

}  // namespace dvlm
