#include "image/preprocess.h"

#include <gmock/gmock.h>

#include "image/video.h"
#include "image_testing.h"

namespace dvlm {
namespace {

using ::testing::HasSubstr;

TEST(SmartResize, GivesTheReferenceTable) {
  struct Row {
    int height, width, to_height, to_width, tokens;
  };
  for (const Row& row :
       {Row{28, 28, 56, 56, 4}, Row{42, 42, 56, 56, 4}, Row{70, 98, 56, 112, 8}, Row{10, 1000, 28, 1008, 36},
        Row{480, 640, 476, 644, 391}, Row{1080, 1920, 1092, 1932, 2691}, Row{1365, 2048, 1372, 2044, 3577},
        Row{4000, 6000, 2912, 4368, 16224}, Row{14, 14, 56, 56, 4}, Row{20, 20, 56, 56, 4},
        Row{3, 400, 28, 392, 14}}) {
    const Size size = smart_resize({row.height, row.width}, {});
    EXPECT_EQ(size.height, row.to_height) << row.height << "x" << row.width;
    EXPECT_EQ(size.width, row.to_width) << row.height << "x" << row.width;
    EXPECT_EQ(size.height / 28 * (size.width / 28), row.tokens);
  }
}

TEST(SmartResize, NeverGivesAnEmptySide) {
  PreprocessOptions options;
  options.min_pixels = 784;
  options.max_pixels = 20 * 784;
  const Size size = smart_resize({10, 2000}, options);
  EXPECT_EQ(size.height, 28);
  EXPECT_GE(size.width, 28);
}

TEST(SmartResize, AllowsARatioOf200AndNoMore) {
  EXPECT_EQ(smart_resize({1, 200}, {}).height, 28);
  EXPECT_THAT(error_of([] { smart_resize({1, 201}, {}); }), HasSubstr("201.0 times"));
  EXPECT_THAT(error_of([] { smart_resize({0, 5}, {}); }), HasSubstr("5 x 0"));
  PreprocessOptions free;
  free.max_pixels = int64_t{1} << 40;
  EXPECT_EQ(smart_resize({2000, 2000}, free).height, 1988) << "the limit is above it and harms nobody";
  EXPECT_THAT(error_of([&] { smart_resize({20000, 20000}, free); }), HasSubstr("lower max_pixels"));
}

TEST(SmartResize, NamesTheOptionThatIsWrong) {
  const auto error_with = [](auto change) {
    PreprocessOptions options;
    change(options);
    return error_of([&] { preprocess_image(index_colors(30, 30, 1), options); });
  };
  EXPECT_THAT(error_with([](PreprocessOptions& o) { o.min_pixels = 9000, o.max_pixels = 8000; }),
              HasSubstr("min_pixels must be between 0 and max_pixels, got 9000 and 8000"));
  EXPECT_THAT(
      error_with([](PreprocessOptions& o) { o.min_pixels = o.max_pixels = int64_t{1} << 40; }),
      HasSubstr("resized to 1048600 x 1048600, above the 268435456 that are allowed: lower min_pixels"));
  EXPECT_THAT(error_with([](PreprocessOptions& o) { o.resized_height = 56; }), HasSubstr("given together"));
  EXPECT_THAT(error_with([](PreprocessOptions& o) { o.patch_size = 0; }), HasSubstr("patch_size"));
  EXPECT_THAT(error_with([](PreprocessOptions& o) { o.std[1] = 0; }), HasSubstr("image_std"));
}

TEST(Resize, KeepsAFlatColourFlat) {
  const Image flat{7, 5, std::vector<uint8_t>(7 * 5 * 3, 201)};
  for (const Size size : {Size{56, 84}, Size{2, 3}, Size{5, 1}})
    EXPECT_THAT(resize_bicubic(flat, size).pixels, ::testing::Each(201));
}

TEST(Resize, RefusesEmptySizes) {
  EXPECT_THAT(error_of([] { resize_bicubic(index_colors(5, 5, 1), {0, 28}); }), HasSubstr("[resize]"));
  EXPECT_THAT(error_of([] { resize_bicubic(Image{}, {28, 28}); }), HasSubstr("[resize]"));
}

TEST(Patches, OfAStillPictureRepeatItInTime) {
  const Patches patches = extract_patches(std::vector{index_colors(56, 56, 3)}, {});
  ASSERT_EQ(patches.values.size(), 16u * 1176);
  for (size_t row = 0; row < 16; ++row)
    for (size_t c = 0; c < 3; ++c) {
      const float* first = &patches.values[row * 1176 + c * 392];
      EXPECT_TRUE(std::equal(first, first + 196, first + 196));
    }
}

TEST(Patches, RefuseFramesThatCannotBeCut) {
  EXPECT_THAT(error_of([] { extract_patches({}, {}); }), HasSubstr("no frames"));
  EXPECT_THAT(error_of([] { extract_patches(std::vector{index_colors(56, 57, 3)}, {}); }),
              HasSubstr("multiples of 28"));
  EXPECT_THAT(error_of([] {
                extract_patches(std::vector{index_colors(56, 56, 3), index_colors(56, 28, 3)}, {});
              }),
              HasSubstr("one size"));
}

TEST(Frames, MustBecomeOneSizeAndHaveARate) {
  const std::vector<Image> frames = {index_colors(60, 60, 1), index_colors(120, 60, 2)};
  const auto frame = [&](size_t i) { return frames[i]; };
  EXPECT_THAT(error_of([&] { preprocess_frames(2, frame, 2, {}); }), HasSubstr("frame 1 is 120 x 60"));
  EXPECT_THAT(error_of([&] { preprocess_frames(1, frame, 0, {}); }), HasSubstr("frame rate"));
  EXPECT_THAT(error_of([&] { preprocess_frames(0, frame, 2, {}); }), HasSubstr("at least one frame"));
  EXPECT_THAT(error_of([&] { preprocess_frames(1'000'000, frame, 2, {}); }), HasSubstr("send fewer"));
}

}  // namespace
}  // namespace dvlm
