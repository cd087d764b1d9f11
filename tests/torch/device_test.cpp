#include "torch/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "message_of.h"

namespace dvlm {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

TEST(Device, other_names_are_refused) {
  EXPECT_TRUE(open_device("cpu").is_cpu());
  for (const char* name : {"", "gpu", "CPU", "cpu:0", "cuda:x"})
    EXPECT_THAT(message_of([&] { open_device(name); }), HasSubstr("there is no device")) << name;
}

TEST(Device, what_a_card_lacks_is_said) {
  const std::string problem = message_of([] { open_device("cuda"); });
  if (problem == "no error") GTEST_SKIP() << "there is a card";
  EXPECT_THAT(problem, AnyOf(AllOf(HasSubstr("GPU half"), HasSubstr(".so"), HasSubstr("docs/training.md")),
                             HasSubstr("no card")));
}

}  // namespace
}  // namespace dvlm
