#include "train/schedule.h"

#include <gtest/gtest.h>

namespace dvlm {
namespace {

TEST(Annealing, FollowsTheTableOfTheSpecification) {
  const double u[] = {0, 0.05, 0.0625, 0.25, 0.5, 0.5625, 0.75, 1};
  const int paper[] = {2, 2, 2, 4, 8, 8, 16, 32};
  const int code[] = {4, 4, 8, 16, 16, 32, 32, 32};
  for (size_t i = 0; i < std::size(u); ++i) {
    EXPECT_EQ(block_size_at(u[i], "paper", 32), paper[i]) << u[i];
    EXPECT_EQ(block_size_at(u[i], "code", 32), code[i]) << u[i];
    EXPECT_EQ(block_size_at(u[i], "none", 32), 32);
  }
  EXPECT_EQ(block_size_at(0.99, "paper", 2), 2);
  EXPECT_EQ(block_size_at(1, "paper", 64), 64);
  EXPECT_EQ(block_size_at(1, "code", 8), 8);
}

TEST(LearningRate, WarmsUpThenFallsToItsFloor) {
  TrainConfig config;
  config.learning_rate = 1e-3, config.warmup_ratio = 0.1, config.min_lr_ratio = 0.05;
  EXPECT_DOUBLE_EQ(learning_rate_at(0, config), 0);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.05, config), 0.5e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.1, config), 1e-3);
  EXPECT_NEAR(learning_rate_at(0.55, config), 1e-3 * (0.05 + 0.95 * 0.5), 1e-12);
  EXPECT_NEAR(learning_rate_at(1, config), 5e-5, 1e-12);
  config.schedule = "constant";
  EXPECT_DOUBLE_EQ(learning_rate_at(0.05, config), 0.5e-3);
  EXPECT_DOUBLE_EQ(learning_rate_at(1, config), 1e-3);
  config.warmup_ratio = 0;
  EXPECT_DOUBLE_EQ(learning_rate_at(0, config), 1e-3);
}

TEST(Progress, TakesTheNearerLimit) {
  EXPECT_DOUBLE_EQ(run_progress(25, 100, 1e9, 0), 0.25);
  EXPECT_DOUBLE_EQ(run_progress(25, 100, 30, 1), 0.5);
  EXPECT_DOUBLE_EQ(run_progress(75, 100, 30, 1), 0.75);
  EXPECT_DOUBLE_EQ(run_progress(75, 0, 30, 1), 0.5);
  EXPECT_DOUBLE_EQ(run_progress(200, 100, 0, 0), 1);
}

}  // namespace
}  // namespace dvlm
