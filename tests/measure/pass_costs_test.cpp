#include "measure/pass_costs.h"

#include <gtest/gtest.h>

namespace dvlm {
namespace {

TEST(PassCosts, a_bad_moment_of_the_machine_does_not_make_wider_passes_dearer) {
  CostCurve curve{{{1, 1400}, {8, 210}, {16, 300}, {32, 290}, {64, 900}}};
  settle(curve);
  EXPECT_EQ(curve.points, (decltype(curve.points){{1, 210}, {8, 210}, {16, 290}, {32, 290}, {64, 900}}));
}

}  // namespace
}  // namespace dvlm
