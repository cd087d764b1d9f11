// Orientations against Pillow's exif_transpose: exif, made by
// tools/fixtures/make_bitmap_fixtures.py.
#include "image/exif.h"

#include <fstream>
#include <sstream>

#include "core/files.h"
#include "image_testing.h"

namespace dvlm {
namespace {

TEST(Exif, TurnsPicturesAsPillowDoes) {
  std::ifstream expected(image_fixture("exif/expected.txt"));
  size_t pictures = 0;
  for (std::string line; std::getline(expected, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream fields(line);
    std::string name, print;
    int orientation = 0, width = 0, height = 0;
    ASSERT_TRUE(fields >> name >> orientation >> width >> height >> print) << line;
    const std::string file = read_file(image_fixture("exif/" + name));
    const auto bytes = std::as_bytes(std::span(file));
    EXPECT_EQ(exif_orientation(bytes), orientation) << name;
    const Image image = upright(decode_image(bytes, name, {}), orientation);
    EXPECT_EQ(image.width, width) << name;
    EXPECT_EQ(image.height, height) << name;
    EXPECT_EQ(fingerprint(image.pixels), print) << name;
    ++pictures;
  }
  EXPECT_EQ(pictures, 17u);
}

TEST(Exif, DamageIsAnUprightPicture) {
  const std::string file = read_file(image_fixture("exif/6.jpg"));
  for (size_t size = 0; size < std::min<size_t>(file.size(), 200); ++size)
    for (const int bit : {0, 1, 7}) {
      std::string damaged = file.substr(0, size + 1);
      damaged[size] ^= static_cast<char>(1 << bit);
      const int orientation = exif_orientation(std::as_bytes(std::span(damaged)));
      EXPECT_TRUE(orientation >= 1 && orientation <= 8);
    }
  EXPECT_EQ(exif_orientation({}), 1);
}

}  // namespace
}  // namespace dvlm
