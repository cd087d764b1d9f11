// What --device auto takes, without a card.
#include "backends/choose_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace dvlm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr size_t kGiB = size_t{1} << 30;

cuda::CardInfo card(const std::string& name, const std::string& problem = "") {
  cuda::CardInfo out{.memory = 80 * kGiB, .major = 9};
  name.copy(out.name, sizeof out.name - 1);
  problem.copy(out.problem, sizeof out.problem - 1);
  return out;
}

class ChooseDevice : public testing::Test {
 protected:
  // For a model of 8 GiB.
  DeviceChoice choose(const std::vector<cuda::CardInfo>& cards, const ModelOptions& options = {}) {
    return choose_device(
        cards,
        [&](int i) {
          asked_.push_back(i);
          if (free_[static_cast<size_t>(i)] == 0) fail("it fell off the bus");
          return free_[static_cast<size_t>(i)];
        },
        8 * kGiB, options);
  }

  std::vector<size_t> free_ = {70 * kGiB, 60 * kGiB};
  std::vector<int> asked_;
};

TEST_F(ChooseDevice, the_first_card_that_has_room) {
  const DeviceChoice choice = choose({card("A"), card("B")});
  EXPECT_EQ(choice.device, "cuda:0");
  EXPECT_EQ(choice.reason, "A, 70.0 GiB free");
  EXPECT_THAT(asked_, ElementsAre(0)) << "asking takes memory";
}

TEST_F(ChooseDevice, who_has_none_is_passed_over_and_named) {
  free_[0] = kGiB;
  const DeviceChoice choice = choose({card("A"), card("B")});
  EXPECT_EQ(choice.device, "cuda:1");
  EXPECT_EQ(choice.reason, "B, 60.0 GiB free; cuda:0 (A) has 1.0 GiB free, and the model needs 8.0 GiB");
  free_[1] = 2 * kGiB;
  const DeviceChoice none = choose({card("A"), card("B")});
  EXPECT_EQ(none.device, "cpu");
  EXPECT_EQ(none.reason,
            "cuda:0 (A) has 1.0 GiB free, and the model needs 8.0 GiB; cuda:1 (B) has 2.0 GiB free, and the "
            "model needs 8.0 GiB");
}

TEST_F(ChooseDevice, exactly_enough_is_enough) {
  free_ = {8 * kGiB - 1, 8 * kGiB};
  EXPECT_EQ(choose({card("A"), card("B")}).device, "cuda:1");
}

TEST_F(ChooseDevice, a_card_that_dvlm_cannot_use_is_not_asked) {
  const DeviceChoice choice = choose({card("T4", "has the instruction set 7.5"), card("B")});
  EXPECT_EQ(choice.device, "cuda:1");
  EXPECT_THAT(choice.reason, HasSubstr("cuda:0 (T4) has the instruction set 7.5"));
  EXPECT_THAT(asked_, ElementsAre(1));
}

TEST_F(ChooseDevice, a_card_that_does_not_answer_is_passed_over) {
  free_[0] = 0;
  const DeviceChoice choice = choose({card("A"), card("B")});
  EXPECT_EQ(choice.device, "cuda:1");
  EXPECT_THAT(choice.reason, HasSubstr("cuda:0 (A) does not answer: it fell off the bus"));
}

TEST_F(ChooseDevice, the_memory_limit_holds_on_cards) {
  const DeviceChoice choice = choose({card("A")}, {.memory_limit = 4 * kGiB});
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_THAT(choice.reason, AllOf(HasSubstr("4.0 GiB (--memory-limit)"), Not(HasSubstr("70"))));
  EXPECT_EQ(choose({card("A")}, {.memory_limit = 8 * kGiB}).device, "cuda:0");
}

TEST_F(ChooseDevice, what_only_the_cpu_does_leads_to_the_cpu) {
  const auto why = [&](const ModelOptions& options) {
    const DeviceChoice choice = choose({card("A")}, options);
    return choice.device + ": " + choice.reason;
  };
  EXPECT_THAT(why({.precision = Precision::f32}), HasSubstr("cpu: --precision f32"));
  EXPECT_THAT(why({.draft = DraftPrecision::int4}), AllOf(HasSubstr("cpu: "), HasSubstr("drafts")));
  EXPECT_THAT(why({.draft = DraftPrecision::int8}), AllOf(HasSubstr("cpu: "), HasSubstr("drafts")));
  EXPECT_THAT(why({.packed_file = "weights.bin"}), HasSubstr("cpu: --packed"));
  EXPECT_THAT(why({.observer = [](const std::string&, const LinearInputs&) {}}),
              HasSubstr("cpu: calibration"));
  EXPECT_THAT(asked_, ElementsAre());
  EXPECT_THAT(why({.precision = Precision::bf16, .draft = DraftPrecision::automatic}),
              HasSubstr("cuda:0: A"));
  EXPECT_THAT(why({.draft = DraftPrecision::fp8}), HasSubstr("cuda:0: A"));
}

TEST_F(ChooseDevice, without_a_card_it_is_the_cpu) {
  EXPECT_EQ(choose({}).device, "cpu");
}

}  // namespace
}  // namespace dvlm
