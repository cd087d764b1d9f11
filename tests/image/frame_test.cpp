#include "image/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "message_of.h"

namespace dvlm {
namespace {

TEST(PixelFrames, AreTheSamePictureInEveryOrderOfTheirBytes) {
  const std::vector<uint8_t> rgb = {1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0};  // rows of 8 bytes
  const std::vector<uint8_t> expected = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  PixelFrame frame{.data = rgb.data(), .stride = 8, .width = 2, .height = 2};
  EXPECT_EQ(image_of(frame, "frame").pixels, expected);
  const std::vector<uint8_t> bgr = {3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10};
  frame = {.data = bgr.data(), .width = 2, .height = 2, .format = PixelFormat::bgr};
  EXPECT_EQ(image_of(frame, "frame").pixels, expected);
  const std::vector<uint8_t> bgra = {3, 2, 1, 255, 6, 5, 4, 0};
  frame = {.data = bgra.data(), .width = 2, .height = 1, .format = PixelFormat::bgra};
  EXPECT_EQ(image_of(frame, "frame").pixels, (std::vector<uint8_t>{1, 2, 3, 255, 255, 255}));
  const std::vector<uint8_t> gray = {1, 2};
  frame = {.data = gray.data(), .width = 1, .height = 2, .format = PixelFormat::gray};
  EXPECT_EQ(image_of(frame, "frame").pixels, (std::vector<uint8_t>{1, 1, 1, 2, 2, 2}));
}

// BT.601 as ITU-R writes it, in floating point.
std::vector<double> rgb_of(int y, int u, int v) {
  const double luma = (y - 16) / 219.0, blue = (u - 128) / 224.0 * 2 * (1 - 0.114),
               red = (v - 128) / 224.0 * 2 * (1 - 0.299);
  const double green = -(0.114 * blue + 0.299 * red) / 0.587;
  return {255 * (luma + red), 255 * (luma + green), 255 * (luma + blue)};
}

TEST(PixelFrames, Nv12IsBt601) {
  for (int y = 0; y < 256; y += 5)
    for (int u = 0; u < 256; u += 15)
      for (int v = 0; v < 256; v += 15) {
        const uint8_t bytes[] = {static_cast<uint8_t>(y), 0, 0, 0, static_cast<uint8_t>(u),
                                 static_cast<uint8_t>(v)};
        const Image image =
            image_of({.data = bytes, .width = 2, .height = 2, .format = PixelFormat::nv12}, "frame");
        const std::vector<double> expected = rgb_of(y, u, v);
        for (size_t c = 0; c < 3; ++c)
          ASSERT_NEAR(image.pixels[c], std::clamp(expected[c], 0.0, 255.0), 0.51)
              << y << " " << u << " " << v;
      }
}

// Cameras put the planes where they like.
TEST(PixelFrames, PlanesOfNv12) {
  const std::vector<uint8_t> together = {16, 235, 0, 235, 16, 0, 128, 128, 0}, chroma = {128, 128};
  const std::vector<uint8_t> expected = {0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0};
  PixelFrame frame{
      .data = together.data(), .stride = 3, .width = 2, .height = 2, .format = PixelFormat::nv12};
  EXPECT_EQ(image_of(frame, "frame").pixels, expected);
  frame.chroma = chroma.data();
  EXPECT_EQ(image_of(frame, "frame").pixels, expected);
}

TEST(PixelFrames, RefuseWhatCannotBe) {
  const uint8_t bytes[64] = {};
  const auto refusal = [&](PixelFrame frame) { return message_of([&] { image_of(frame, "cam"); }); };
  EXPECT_EQ(refusal({.width = 2, .height = 2}), "cam: there are no pixels: its data is null");
  EXPECT_EQ(refusal({.data = bytes, .stride = 5, .width = 2, .height = 2}),
            "cam: its stride is 5 bytes, but a row of 2 pixels has 6");
  EXPECT_NE(refusal({.data = bytes, .stride = -6, .width = 2, .height = 2}), "");
  EXPECT_NE(refusal({.data = bytes, .width = 0, .height = 2}), "");
  EXPECT_THAT(refusal({.data = bytes, .stride = INT64_MAX, .width = 2, .height = 2}),
              testing::HasSubstr("at most"));
  EXPECT_NE(refusal({.data = bytes, .width = 1 << 30, .height = 1 << 30}), "");
  EXPECT_EQ(refusal({.data = bytes, .width = 3, .height = 2, .format = PixelFormat::nv12}),
            "cam: NV12 has even sides, not 3 x 2");
}

}  // namespace
}  // namespace dvlm
