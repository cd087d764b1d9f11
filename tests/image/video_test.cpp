// Frame choice, and the test clip: 24 frames at 8 per second, 64 x 48; frame i is grey 20 + 9 i with a red
// square whose left side is at x = 2 i. Made by tools/fixtures/make_image_fixtures.py.
#include "image/video.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>

#include "core/files.h"
#include "core/memory.h"
#include "core/random.h"
#include "image_testing.h"

namespace dvlm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SelectFrames, HonoursStartAndEnd) {
  VideoOptions options;
  options.start = 2;
  options.end = 5;
  const FrameRange range = frame_range(100, 10, options);
  EXPECT_EQ(range.first, 20);
  EXPECT_EQ(range.last, 50);
  EXPECT_THAT(select_frames(100, 10, options), ElementsAre(20, 26, 32, 38, 44, 50));
}

TEST(SelectFrames, HonoursTheBounds) {
  VideoOptions options;
  options.max_frames = 7;
  EXPECT_EQ(select_frames(1000, 25, options).size(), 6u);
  options.min_frames = options.max_frames = 5;  // rounded up and down: the upper bound wins
  EXPECT_EQ(select_frames(1000, 25, options).size(), 4u);
}

TEST(SelectFrames, SaysWhatIsWrong) {
  VideoOptions options;
  EXPECT_THAT(error_of([&] { select_frames(0, 25, options); }), HasSubstr("no frames"));
  EXPECT_THAT(error_of([&] { select_frames(1, 25, options); }), HasSubstr("at least 2"));
  EXPECT_THAT(error_of([&] { select_frames(10, 0, options); }), HasSubstr("frame rate"));
  options.nframes = 40;
  EXPECT_THAT(error_of([&] { select_frames(10, 25, options); }), HasSubstr("40 frames would be taken"));
  options.nframes = 0;
  options.fps = -1;
  EXPECT_THAT(error_of([&] { select_frames(10, 25, options); }), HasSubstr("fps"));
  options.fps = 2;
  options.start = 9;
  EXPECT_THAT(error_of([&] { select_frames(10, 25, options); }), HasSubstr("no frames lie between"));
}

// Empty when this build reads no video files.
bool reads_videos() {
  try {
    preprocess_video_file(InputFile(image_fixture("golden.txt")), {}, {});
  } catch (const Error& error) {
    return std::string(error.what()).find("reads no video files") == std::string::npos;
  }
  return false;
}

class VideoFile : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!reads_videos()) GTEST_SKIP() << "this build has no libav: video files are NOT tested";
  }
};

// The grey level of the lower right corner of time slice t (its first frame), back from the normalised value.
double corner_level(const Patches& patches, int t, int frame_of_slice = 0) {
  const size_t rows = static_cast<size_t>(patches.grid.h) * patches.grid.w;
  const float value = patches.values[(rows * (t + 1) - 1) * 1176 + 196 * frame_of_slice + 195];
  return (value * 0.26862954 + 0.48145466) * 255;
}

TEST_F(VideoFile, GivesTheChosenFramesInOrder) {
  const Patches patches = preprocess_video_file(InputFile(image_fixture("clip.avi")), {}, {});
  // 3 s at 2 frames per second; the smallest frame of a video has 128 tokens.
  EXPECT_EQ(patches.grid.t, 3);
  EXPECT_EQ(patches.original.width, 64);
  EXPECT_EQ(patches.original.height, 48);
  EXPECT_GE(patches.resized.width * patches.resized.height, 100352);
  EXPECT_DOUBLE_EQ(patches.second_per_grid, 1.0);
  const int chosen[] = {0, 5, 9, 14, 18, 23};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(corner_level(patches, i / 2, i % 2), 20 + 9 * chosen[i], 4) << i;
}

TEST_F(VideoFile, HonoursCountRangeAndSize) {
  VideoOptions video;
  video.nframes = 4;
  video.start = 1;
  video.end = 2;
  PreprocessOptions options;
  options.resized_height = 56;
  options.resized_width = 84;
  const Patches patches = preprocess_video_file(InputFile(image_fixture("clip.avi")), video, options);
  EXPECT_EQ(patches.grid, (Grid{2, 4, 6}));
  EXPECT_DOUBLE_EQ(patches.second_per_grid, 2 / (4.0 / 9 * 8));
  const int chosen[] = {8, 11, 13, 16};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(corner_level(patches, i / 2, i % 2), 20 + 9 * chosen[i], 4) << i;
}

// Before a frame is enlarged: 24 frames of 2^24 pixels would take 1.2 GB.
TEST_F(VideoFile, TokensAreCountedBeforePixelsAreMade) {
  VideoOptions video;
  video.min_pixels = video.max_pixels = 1 << 24;
  PreprocessOptions options;
  options.admit = [](int64_t tokens) {
    if (tokens > 1000) throw Error("many");
  };
  const size_t before = peak_rss_bytes();
  EXPECT_THROW(preprocess_video_file(InputFile(image_fixture("clip.avi")), video, options), Error);
  options.min_pixels = options.max_pixels = 1 << 24;
  const auto frame = [](size_t) { return Image{28, 28, std::vector<uint8_t>(28 * 28 * 3)}; };
  EXPECT_THROW(preprocess_frames(8, frame, 2, options), Error);
  EXPECT_LT(peak_rss_bytes() - before, size_t{64} << 20);
}

TEST_F(VideoFile, SaysWhatIsWrong) {
  EXPECT_THAT(error_of([] { preprocess_video_file(InputFile("no/such/clip.avi"), {}, {}); }),
              HasSubstr("no/such/clip.avi"));
  EXPECT_THAT(error_of([] { preprocess_video_file(InputFile(image_fixture("golden.txt")), {}, {}); }),
              HasSubstr("golden.txt"));
  EXPECT_THAT(error_of([] { preprocess_video_file(InputFile("http://localhost:1/clip.mp4"), {}, {}); }),
              HasSubstr("open"));
}

TEST_F(VideoFile, DamagedGivesFramesOrAnError) {
  const std::string original = read_file(image_fixture("clip.avi"));
  const auto path = std::filesystem::temp_directory_path() / fmt::format("dvlm-damaged-{}.avi", getpid());
  VideoOptions video;
  video.min_pixels = 784;
  Random random(3);
  for (int i = 0; i < 60; ++i) {
    std::string file = original;
    for (int k = 0; k < 5; ++k)
      file[static_cast<size_t>(random.below(i % 2 ? 300 : static_cast<int64_t>(file.size())))] =
          static_cast<char>(random.below(256));
    if (i % 5 == 0) file.resize(static_cast<size_t>(random.below(static_cast<int64_t>(file.size()))));
    write_file(path, file);
    try {
      EXPECT_GE(preprocess_video_file(InputFile(path), video, {}).grid.t, 1);
    } catch (const Error& error) {
      EXPECT_STRNE(error.what(), "");
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace dvlm
