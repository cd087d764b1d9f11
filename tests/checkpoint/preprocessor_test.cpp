#include "checkpoint/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class Preprocessor : public testing::Test {
 protected:
  PreprocessorConfig read() const {
    return read_preprocessor(folder_.path(), {}).value_or(PreprocessorConfig());
  }
  void write(const char* name, const json& value) const { write_file(folder_ / name, value.dump()); }
  std::string message(const json& settings) const {
    write("preprocessor_config.json", settings);
    return message_of([&] { read(); });
  }
  TemporaryFolder folder_;
};

TEST_F(Preprocessor, limits_stand_at_the_top_or_in_size) {
  const json files[] = {
      {{"min_pixels", 3136}, {"max_pixels", 50176}},
      {{"size", {{"min_pixels", 3136}, {"max_pixels", 50176}}}},
      {{"size", {{"shortest_edge", 3136}, {"longest_edge", 50176}}}},
      {{"max_pixels", 50176}, {"size", {{"shortest_edge", 3136}, {"longest_edge", 99999}}}}};
  for (const json& file : files) {
    write("preprocessor_config.json", file);
    EXPECT_EQ(read().min_pixels, 3136) << file;
    EXPECT_EQ(read().max_pixels, 50176) << file;
  }
  EXPECT_THAT(message({{"size", {{"height", 224}, {"width", 224}}}}), HasSubstr("height"));
}

TEST_F(Preprocessor, processor_config_wins_where_it_has_an_image_processor) {
  write("preprocessor_config.json", {{"max_pixels", 50176}, {"image_mean", {0.1, 0.2, 0.3}}});
  write("processor_config.json", {{"processor_class", "Qwen2_5_VLProcessor"}});
  EXPECT_EQ(read().max_pixels, 50176);
  write("processor_config.json", {{"image_processor", {{"size", {{"longest_edge", 99999}}}}}});
  EXPECT_EQ(read().max_pixels, 99999);
  EXPECT_EQ(read().image_mean[0], PreprocessorConfig().image_mean[0]);
}

TEST_F(Preprocessor, steps_that_cannot_be_followed_are_refused_by_name) {
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"})
    EXPECT_THAT(message({{step, false}}), HasSubstr(step));
  EXPECT_THAT(message({{"rescale_factor", 0.0078}}), HasSubstr("rescale_factor"));
  EXPECT_THAT(message({{"resample", 2}}), HasSubstr("resample"));
  EXPECT_THAT(message({{"image_std", {0, 1, 1}}}), HasSubstr("image_std"));
  EXPECT_EQ(message({{"do_resize", true},
                     {"do_rescale", true},
                     {"do_normalize", true},
                     {"resample", 3},
                     {"rescale_factor", 1.0 / 255}}),
            "no error");
}

TEST_F(Preprocessor, what_changes_nothing_is_said_once) {
  write("preprocessor_config.json", {{"do_convert_rgb", false}});
  testing::internal::CaptureStderr();
  read();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("do_convert_rgb"));
  testing::internal::CaptureStderr();
  read();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace dvlm
