// What --plan prints, and what a start says of memory.
#include <gmock/gmock.h>

#include "run_fixture.h"
#include "train/curve.h"
#include "train/plan.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Printed {
  bool fits;
  std::string text;
};

Printed plan_of(const TrainConfig& config, int processes = 1, double memory = 0) {
  testing::internal::CaptureStdout();
  const bool fits = print_plan(config, processes, memory);
  return {fits, testing::internal::GetCapturedStdout()};
}

TEST(PlanReport, SaysWhetherTheRunFits) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("convert", "out");
  const Printed enough = plan_of(config, 1, 1e15), little = plan_of(config, 1, 1e6);
  EXPECT_TRUE(enough.fits);
  EXPECT_THAT(enough.text, HasSubstr("fits in 1000000.00 GB\n"));
  EXPECT_FALSE(little.fits);
  EXPECT_THAT(little.text, HasSubstr("does not fit in 0.00 GB\n"));
  // Else in what is free, where the device is here.
  EXPECT_THAT(plan_of(config).text, HasSubstr(" GB, which are free here\n"));
  EXPECT_THAT(plan_of(config, 2).text, HasSubstr(" GB, which each of 2 processes has"));
  config.device = "cuda:99";
  const Printed elsewhere = plan_of(config);
  EXPECT_TRUE(elsewhere.fits);
  EXPECT_THAT(elsewhere.text, HasSubstr("what cuda:99 has free is not known here"));
}

TEST(PlanReport, CountsTheSamplesOfAStep) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  config.batch_size = 1, config.global_batch_size = 256;
  EXPECT_THAT(plan_of(config, 8).text,
              HasSubstr("step        256 samples: 256 passes of 1 by 8 processes\n"));
  EXPECT_THAT(toy::error_of([&] { print_plan(config, 3, 0); }), HasSubstr("by 3 processes"));
}

TEST(PlanReport, RefusesPatternsAsTheRunDoesBeforeAnythingIsMade) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  const auto check = [&](const char* named) {
    const std::string error = toy::error_of([&] { print_plan(config, 1, 0); });
    EXPECT_THAT(error, HasSubstr(named));
    EXPECT_EQ(toy::error_of([&] { train(config, false); }), error);
    EXPECT_FALSE(fs::exists(config.output));
  };
  config.freeze = {"vision.*"};
  check("'freeze' pattern \"vision.*\"");
  config.freeze = {};
  config.lora = {.rank = 2, .targets = {"c_attn"}};
  check("'lora.targets' \"c_attn\"");
}

TEST(PlanReport, SaysHowLongStepsTookWhereTheRunHasBegun) {
  const toy::RunFixture fixture;
  TrainConfig config = fixture.config("ar", "out");
  EXPECT_THAT(plan_of(config).text, HasSubstr("time        not measured: "));
  train(config, false, 3);
  EXPECT_THAT(plan_of(config).text, HasSubstr(" samples/s, "));
  EXPECT_THAT(plan_of(config).text, HasSubstr(" left after step 3 (the end of "));

  std::string log;  // slow at first
  for (int64_t line = 1; line <= 12; ++line)
    log += to_json_line({.step = 10 * line,
                         .seconds = 100 + 5 * static_cast<double>(line),
                         .samples_per_second = line < 3 ? 1.0 : 4.0});
  toy::write_text(fs::path(config.output) / "train.jsonl", log);
  config.steps = 1120;
  EXPECT_THAT(plan_of(config).text,
              HasSubstr("time        0.50 s for each step, 4.0 samples/s, 8 minutes left after step 120"));
  config.max_minutes = 4;  // 160 seconds have passed
  EXPECT_THAT(plan_of(config).text, HasSubstr("80 s left after step 120"));
}

// It is a warning: the batch of the estimate is as large as the configuration says, that of the data is not,
// and the run does fit.
TEST(PlanReport, AStartWarnsOfPassesThatMayNotFit) {
  const toy::RunFixture fixture(1);
  TrainConfig config = fixture.config("ar", "out");
  config.steps = 1;
  testing::internal::CaptureStderr();
  train(config, false);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::Not(HasSubstr("may not fit")));
  const nlohmann::json record = {{"messages",
                                  {{{"role", "user"}, {"content", "Count."}},
                                   {{"role", "assistant"}, {"content", std::string(20'000, '1')}}}}};
  std::ofstream(config.data[0].path, std::ios::app) << record.dump() << "\n";
  config.output += "-large", config.batch_size = 1 << 16, config.max_length = 4096;
  testing::internal::CaptureStderr();
  EXPECT_EQ(train(config, false).step, 1);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("a pass of this run may not fit"));
  EXPECT_THAT(said, HasSubstr("--plan shows for what"));
}

}  // namespace
}  // namespace dvlm
