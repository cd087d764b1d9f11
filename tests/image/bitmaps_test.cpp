// BMP, GIF and animated WebP files against Pillow: bitmaps/expected.txt, made by
// tools/fixtures/make_bitmap_fixtures.py.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "core/files.h"
#include "image_testing.h"

namespace dvlm {
namespace {

using testing::HasSubstr;

std::string bitmap_error(const std::string& file) {
  return error_of([&] { decode_image(std::as_bytes(std::span(file)), "x", {}); });
}

TEST(Bitmaps, HaveThePixelsThatPillowGivesThem) {
  std::ifstream expected(image_fixture("bitmaps/expected.txt"));
  size_t pictures = 0;
  for (std::string line; std::getline(expected, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream fields(line);
    std::string name, print;
    int width = 0, height = 0;
    ASSERT_TRUE(fields >> name >> width >> height >> print) << line;
    // Exactly the file's bytes: one that is read behind them is found by a sanitizer.
    const std::string file = read_file(image_fixture("bitmaps/" + name));
    const auto bytes = std::as_bytes(std::span(file));
    const Image image = decode_image(std::vector<std::byte>(bytes.begin(), bytes.end()), name);
    EXPECT_EQ(image.width, width) << name;
    EXPECT_EQ(image.height, height) << name;
    EXPECT_EQ(fingerprint(image.pixels), print) << name;
    ++pictures;
  }
  EXPECT_GE(pictures, 54u);
}

TEST(Bitmaps, AreRefusedWhenTheyAreCutOff) {
  for (const auto& entry : std::filesystem::directory_iterator(image_fixture("bitmaps"))) {
    if (entry.path().extension() == ".txt") continue;
    const std::string file = read_file(entry.path());
    for (const size_t keep : {file.size() * 3 / 4, file.size() / 2, size_t{30}, size_t{14}, size_t{7}})
      EXPECT_THAT(bitmap_error(file.substr(0, keep)), HasSubstr("x: ")) << entry.path() << " cut at " << keep;
  }
}

TEST(Bitmaps, OfUnknownKindsAreRefusedByName) {
  std::string file = read_file(image_fixture("bitmaps/565.bmp"));
  file[54] = 1;
  EXPECT_THAT(bitmap_error(file), HasSubstr("16 bits with compression 3 and these masks"));
  file = read_file(image_fixture("bitmaps/8.bmp"));
  file[30] = 4;  // a JPEG in a BMP
  EXPECT_THAT(bitmap_error(file), HasSubstr("compression 4"));
  file[14] = 41;
  EXPECT_THAT(bitmap_error(file), HasSubstr("header of 41 bytes"));
}

TEST(Bitmaps, AreJudgedByTheirHeadersBeforeAnythingOfTheirSizeIsMade) {
  std::string gif = read_file(image_fixture("bitmaps/plain.gif"));
  gif.replace(6, 4, "\xFF\xFF\xFF\xFF");  // of the screen
  EXPECT_THAT(bitmap_error(gif), HasSubstr("65535 x 65535"));
  std::string bmp = read_file(image_fixture("bitmaps/runs8.bmp"));
  bmp.replace(18, 8, "\x00\x80\x00\x00\x00\x80\x00\x00", 8);
  EXPECT_THAT(bitmap_error(bmp), HasSubstr("32768 x 32768"));
}

}  // namespace
}  // namespace dvlm
