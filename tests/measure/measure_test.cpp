#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "measure/passes.h"
#include "measure/random_checkpoint.h"

namespace dvlm {
namespace {

TEST(RandomCheckpoint, is_sound_in_both_precisions) {
  for (const bool fp8 : {false, true}) {
    const RandomCheckpoint random(shape_named("tiny"), fp8);
    EXPECT_THAT(random.checkpoint().problems(), testing::IsEmpty());
    const DType type = random.checkpoint().tensors().at("model.layers.0.mlp.down_proj.weight").type;
    EXPECT_EQ(type, fp8 ? DType::f8_e4m3 : DType::bf16);
  }
}

TEST(RandomCheckpoint, has_the_published_number_of_weights) {  // spec 1.3
  int64_t count = 0, tensors = 0;
  for (const auto& [name, shape] : expected_tensors(shape_named("3b"))) {
    count += TensorView{DType::bf16, shape, nullptr}.elements();
    ++tensors;
  }
  EXPECT_EQ(count, 3'754'622'976);
  EXPECT_EQ(tensors, 824);
  EXPECT_THROW(shape_named("7b"), Error);
}

TEST(TimePasses, fills_in_every_column) {
  ThreadPool pool(1);
  const auto timings =
      time_passes({.shape = "tiny", .rows = {1, 8}, .contexts = {0, 40}, .repeats = 1}, pool);
  ASSERT_EQ(timings.size(), 8);
  for (const PassTiming& t : timings) {
    EXPECT_GT(t.ms, 0);
    EXPECT_GT(t.probe_gb_per_s, 0);
    EXPECT_GT(t.roofline_ratio(), 0);
  }
  EXPECT_EQ(timings[0].precision, "bf16");
  EXPECT_EQ(timings[7].precision, "fp8");
  EXPECT_LT(timings[4].bytes, timings[0].bytes);  // fp8 reads less
  EXPECT_GT(timings[2].bytes, timings[0].bytes);  // keys of the context
  EXPECT_NEAR(timings[1].flops / timings[0].flops, 8, 0.5);
}

}  // namespace
}  // namespace dvlm
