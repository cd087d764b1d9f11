// Equality with Pillow, torch and the slow Qwen2VLImageProcessor: golden.txt, made by
// tools/fixtures/make_image_fixtures.py.
#include <cmath>
#include <fstream>
#include <sstream>

#include "image/preprocess.h"
#include "image/video.h"
#include "image_testing.h"

namespace dvlm {
namespace {

std::vector<std::istringstream> golden(const std::string& kind) {
  std::ifstream file(image_fixture("golden.txt"));
  std::vector<std::istringstream> lines;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(kind + " ")) lines.emplace_back(line.substr(kind.size() + 1));
  EXPECT_FALSE(lines.empty()) << "no " << kind << " lines in golden.txt";
  return lines;
}

TEST(Golden, PicturesEqualTheReferenceByteForByteAtEveryStage) {
  size_t pictures = 0;
  for (std::istringstream& line : golden("picture")) {
    std::string name, rgb, resized_print, values;
    PreprocessOptions options;
    int width, height, resized_width, resized_height;
    Grid grid;
    line >> name >> options.min_pixels >> options.max_pixels >> options.resized_height >>
        options.resized_width >> width >> height >> rgb >> resized_width >> resized_height >> resized_print >>
        grid.t >> grid.h >> grid.w >> values;
    ASSERT_TRUE(line) << name;
    SCOPED_TRACE(name);
    const Image image = read_image(image_fixture(name));
    EXPECT_EQ(image.width, width);
    EXPECT_EQ(image.height, height);
    EXPECT_EQ(fingerprint(image.pixels), rgb) << "decoded pixels differ";
    const Image resized = resize_bicubic(image, {resized_height, resized_width});
    EXPECT_EQ(fingerprint(resized.pixels), resized_print) << "resized pixels differ";
    const Patches patches = preprocess_image(image, options);
    EXPECT_EQ(patches.resized.width, resized_width);
    EXPECT_EQ(patches.resized.height, resized_height);
    EXPECT_EQ(patches.original.width, width);
    EXPECT_EQ(patches.grid, grid);
    EXPECT_EQ(fingerprint(patches.values), values) << "patch values differ";
    ++pictures;
  }
  EXPECT_GE(pictures, 60u);
}

TEST(Golden, ResizeEqualsPillowAtManyRatios) {
  for (std::istringstream& line : golden("resize")) {
    int width, height, seed, to_width, to_height;
    std::string print;
    line >> width >> height >> seed >> to_width >> to_height >> print;
    const Image resized = resize_bicubic(index_colors(width, height, seed), {to_height, to_width});
    EXPECT_EQ(fingerprint(resized.pixels), print)
        << width << "x" << height << " to " << to_width << "x" << to_height;
  }
}

TEST(Golden, FloatResizeIsWithinOneLevelOfTorch) {
  std::ifstream file(image_fixture("torch_resize.bin"), std::ios::binary);
  const std::vector<char> expected{std::istreambuf_iterator<char>(file), {}};
  size_t values = 0, different = 0;
  for (std::istringstream& line : golden("torch")) {
    int width, height, seed, to_width, to_height;
    size_t offset;
    line >> width >> height >> seed >> to_width >> to_height >> offset;
    const Image resized = resize_bicubic_float(index_colors(width, height, seed), {to_height, to_width});
    ASSERT_LE(offset + resized.pixels.size(), expected.size());
    for (size_t i = 0; i < resized.pixels.size(); ++i) {
      const int difference = std::abs(resized.pixels[i] - static_cast<uint8_t>(expected[offset + i]));
      ASSERT_LE(difference, 1) << width << "x" << height << " value " << i;
      different += difference != 0;
    }
    values += resized.pixels.size();
  }
  RecordProperty("values", static_cast<int>(values));
  RecordProperty("different", static_cast<int>(different));
  EXPECT_LE(different * 1000, values) << "differences should be rare roundings";
}

TEST(Golden, FrameListsEqualTheReference) {
  for (std::istringstream& line : golden("frames")) {
    std::string name, print;
    int count, width, height, seed;
    Grid grid;
    line >> name >> count >> width >> height >> seed >> grid.t >> grid.h >> grid.w >> print;
    std::vector<Image> frames;
    frames.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) frames.push_back(index_colors(width, height, seed + i));
    const Patches patches = preprocess_frames(frames.size(), [&](size_t i) { return frames[i]; }, 4.0, {});
    EXPECT_EQ(patches.grid, grid) << name;
    EXPECT_EQ(fingerprint(patches.values), print) << name;
    EXPECT_EQ(patches.second_per_grid, 0.5) << name;
  }
}

TEST(Golden, FrameIndicesEqualTheReference) {
  for (std::istringstream& line : golden("select")) {
    int total, count;
    double fps;
    VideoOptions options;
    std::string print;
    line >> total >> fps >> options.fps >> options.nframes >> count >> print;
    const std::vector<int> indices = select_frames(total, fps, options);
    EXPECT_EQ(indices.size(), static_cast<size_t>(count)) << total;
    EXPECT_EQ(fingerprint(indices), print) << total;
  }
}

// Four frames whose pixel values name their place, cut by the library and by the reference's reshape and
// permute (docs/reference.md, Patch order).
TEST(Golden, IndexPictureGivesTheReferencePatchOrder) {
  for (std::istringstream& line : golden("index")) {
    int width, height, count;
    Grid grid;
    std::string print;
    line >> width >> height >> count >> grid.t >> grid.h >> grid.w >> print;
    // A byte holds no index, so it is sent through in three parts and put together again.
    const auto number = [&](int t, int y, int x, int c) { return y * width + x + 10000 * c + 100000 * t; };
    PreprocessOptions options;
    for (int c = 0; c < 3; ++c) options.mean[c] = 0, options.std[c] = 1;
    std::vector<int32_t> order;
    for (int shift = 0; shift < 24; shift += 8) {
      std::vector<Image> frames;
      for (int t = 0; t < count; ++t) {
        Image frame{width, height, {}};
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x)
            for (int c = 0; c < 3; ++c)
              frame.pixels.push_back(static_cast<uint8_t>(number(t, y, x, c) >> shift));
        frames.push_back(frame);
      }
      const Patches patches = extract_patches(frames, options);
      EXPECT_EQ(patches.grid, grid);
      order.resize(patches.values.size());
      for (size_t i = 0; i < order.size(); ++i)
        order[i] |= static_cast<int32_t>(std::lround(patches.values[i] * 255.0f)) << shift;
    }
    EXPECT_EQ(fingerprint(order), print);
  }
}

}  // namespace
}  // namespace dvlm
