// How large the pictures and videos of a record are, and what becomes of those that are too large.
#include <gmock/gmock.h>

#include "core/files.h"
#include "image/video.h"
#include "model/preprocessing.h"
#include "run_fixture.h"
#include "train/dataset.h"

namespace dvlm {
namespace {

using nlohmann::json;

constexpr int64_t kToken = 28 * 28;  // pixels

// One conversation about what `add` lists, with Qwen2.5-VL's own limits of pixels.
struct Record {
  toy::RunFixture fixture{1};
  ModelConfig config = read_config(fixture.folder / "model");
  Tokenizer tokenizer{fixture.folder / "model"};
  SampleContext context{tokenizer, config, answer_markers(tokenizer), 2048};
  json content = json::array();

  Record() {
    config.preprocessor.min_pixels = 4 * kToken;
    config.preprocessor.max_pixels = 16384 * kToken;
  }
  // The name of a black picture.
  std::string picture(int width, int height) const {
    std::string name = std::to_string(width) + "x" + std::to_string(height) + ".ppm";
    const std::string head = "P6\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n";
    toy::write_text(fixture.folder / "data" / name, head);
    std::filesystem::resize_file(fixture.folder / "data" / name,
                                 head.size() + size_t{3} * static_cast<size_t>(width * height));
    return name;
  }
  Dataset dataset() const {
    json all = content;
    all.push_back({{"type", "text"}, {"text", "What?"}});
    const json record = {
        {"messages",
         {{{"role", "user"}, {"content", all}}, {{"role", "assistant"}, {"content", "It is dark."}}}}};
    const std::string path = (fixture.folder / "data/record.jsonl").string();
    toy::write_text(path, record.dump() + "\n");
    return Dataset({DataSource{path}});
  }
  Sample load() const { return dataset().load(0, context); }
  // How many tokens a picture or video has.
  int64_t tokens(const Sample& sample, size_t visual = 0) const {
    return sample.visuals.at(visual).grid.patches() / config.vision.patches_per_token();
  }
};

// As serving does (engine/visual.h): the model learns at the size that it is asked with.
TEST(Visuals, DetailLowIsAPictureOf512By512AtMost) {
  Record low, bounded, plain;
  const std::string name = low.picture(600, 600);
  bounded.picture(600, 600), plain.picture(600, 600);
  low.content = {{{"type", "image_url"}, {"image_url", {{"url", name}, {"detail", "low"}}}}};
  bounded.content = {{{"type", "image"}, {"image", name}, {"max_pixels", 512 * 512}}};
  plain.content = {{{"type", "image"}, {"image", name}}};
  EXPECT_EQ(plain.tokens(plain.load()), 21 * 21);
  EXPECT_EQ(low.tokens(low.load()), 18 * 18);
  EXPECT_EQ(bounded.tokens(bounded.load()), 18 * 18);
  EXPECT_EQ(low.dataset().length(0, low.context), bounded.dataset().length(0, bounded.context));
  EXPECT_LT(low.dataset().length(0, low.context), plain.dataset().length(0, plain.context));
  low.context.max_pixels = 1000 * kToken;  // whatever else is said
  EXPECT_EQ(low.tokens(low.load()), 18 * 18);
}

TEST(Visuals, APicturesOwnLimitsWinOverThoseOfTheRun) {
  Record record;
  record.content = {{{"type", "image"}, {"image", record.picture(280, 280)}, {"min_pixels", 200 * kToken}}};
  record.context.max_pixels = 50 * kToken;
  EXPECT_GE(record.tokens(record.load()), 200);
  record.content[0].erase("min_pixels");
  EXPECT_LE(record.tokens(record.load()), 50);
  record.content[0]["max_pixels"] = 20 * kToken;
  record.context.max_pixels = 0, record.context.min_pixels = 300 * kToken;
  EXPECT_LE(record.tokens(record.load()), 20);
  record.content[0]["max_pixels"] = 400 * kToken, record.content[0]["min_pixels"] = 10 * kToken;
  EXPECT_EQ(record.tokens(record.load()), 100) << "its own size lies within";
}

TEST(Visuals, FramesThatAreTooManyOrTooLargeAreMadeSmallerWithThePictures) {
  Record record;
  const std::string frame = record.picture(280, 280);                          // 100 tokens: 4 pairs have 400
  record.content = {{{"type", "image"}, {"image", record.picture(560, 560)}},  // 400
                    {{"type", "video"}, {"video", std::vector<std::string>(8, frame)}}};
  const Sample whole = record.load();
  EXPECT_FALSE(whole.shrunk);
  EXPECT_EQ(record.tokens(whole, 0), 400);
  EXPECT_EQ(record.tokens(whole, 1), 400);
  record.context.max_length = 512;
  const Sample sample = record.load();
  EXPECT_TRUE(sample.shrunk);
  EXPECT_LE(sample.ids.size(), 512u);
  ASSERT_EQ(sample.visuals.size(), 2u);
  EXPECT_EQ(sample.visuals[1].grid.t, 4);
  for (const size_t i : {0, 1}) {
    EXPECT_LT(record.tokens(sample, i), 256) << i;
    EXPECT_GT(record.tokens(sample, i), 100) << i;
  }
  EXPECT_EQ(std::ranges::count(sample.ids, record.config.video_token), record.tokens(sample, 1));
}

TEST(Visuals, AVideoWithMorePairsOfFramesThanMaxLengthIsLeftOut) {
  Record record;
  record.content = {{{"type", "video"}, {"video", std::vector<std::string>(600, record.picture(28, 28))}}};
  record.context.max_length = 256;
  EXPECT_TRUE(record.load().ids.empty());
}

class VideoFiles : public testing::Test {
 protected:
  void SetUp() override {
    record.content = {{{"type", "video"}, {"video", clip}}};
    try {
      natural = record.load();
    } catch (const Error& error) {
      if (std::string(error.what()).find("reads no video files") == std::string::npos) throw;
      GTEST_SKIP() << "this build has no libav: video files are NOT tested";
    }
  }
  // 24 frames of 64 x 48, 6 of which are taken.
  const std::string clip = std::filesystem::absolute(DVLM_FIXTURES "/image/clip.avi").string();
  Record record;
  Sample natural;
};

TEST_F(VideoFiles, HaveTheLimitsOfTheRun) {
  EXPECT_EQ(natural.visuals.at(0).grid.t, 3);
  EXPECT_GE(record.tokens(natural), 3 * 128) << "qwen-vl-utils' least";
  record.context.max_pixels = 20 * kToken;
  const Sample sample = record.load();
  const SizeLimits limits{.max_pixels = 20 * kToken};
  EXPECT_EQ(sample.visuals.at(0).grid,
            preprocess_video_file(InputFile(clip), video_within(limits, 0, 0), {}).grid);
  EXPECT_LT(record.tokens(sample), record.tokens(natural) / 4);
  record.content[0]["min_pixels"] = record.content[0]["max_pixels"] = 128 * kToken;  // its own
  EXPECT_EQ(record.load().visuals.at(0).grid, natural.visuals.at(0).grid);
}

TEST_F(VideoFiles, AreMadeSmallerWhereTheyDoNotFit) {
  record.context.max_length = 256;
  const Sample sample = record.load();
  EXPECT_TRUE(sample.shrunk);
  ASSERT_FALSE(sample.ids.empty());
  EXPECT_LE(sample.ids.size(), 256u);
  ASSERT_EQ(sample.visuals.size(), 1u);
  const Grid grid = sample.visuals[0].grid;
  EXPECT_EQ(grid.t, 3);
  EXPECT_EQ(grid.h % 2 + grid.w % 2, 0);
  EXPECT_GE(record.tokens(sample), 40);
  EXPECT_EQ(sample.visuals[0].second_per_grid, natural.visuals[0].second_per_grid);
  // Beside a picture that fills what is left.
  record.content.push_back({{"type", "image"}, {"image", record.picture(280, 280)}});
  const Sample both = record.load();
  EXPECT_TRUE(both.shrunk);
  EXPECT_LE(both.ids.size(), 256u);
  EXPECT_LT(record.tokens(both, 0), record.tokens(sample));
}

}  // namespace
}  // namespace dvlm
