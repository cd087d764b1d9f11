#include "synth/scene.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "synth/painter.h"

namespace dvlm {
namespace {

constexpr int kScenes = 300;

Painter& painter() {
  static Painter shared;
  return shared;
}

Scene scene_at(int64_t index) {
  return make_scene(painter(), 7, Split::train, index);
}

const uint8_t* pixel(const Image& picture, int x, int y) {
  return picture.pixels.data() + (static_cast<ptrdiff_t>(y) * picture.width + x) * 3;
}

TEST(Scene, SameSeedSamePixels) {
  Painter other;
  for (int64_t i = 0; i < 20; ++i) {
    const Scene scene = make_scene(other, 7, Split::train, i);
    EXPECT_EQ(painter().paint(scene_at(i)).pixels, other.paint(scene).pixels) << i;
  }
}

TEST(Scene, SeedIndexAttemptAndSplitAllChangeThePicture) {
  std::set<std::vector<uint8_t>> pictures;
  for (const uint64_t seed : {1, 2})
    for (const Split split : {Split::train, Split::test})
      for (const int index : {0, 1})
        for (const int attempt : {0, 1})
          pictures.insert(painter().paint(make_scene(painter(), seed, split, index, attempt)).pixels);
  EXPECT_EQ(pictures.size(), 16u);
}

// Equal stream numbers are the only way in which two samples of one seed could share random numbers.
TEST(Scene, TrainAndTestDrawFromDisjointStreams) {
  std::set<uint64_t> first_draws;
  size_t streams = 0;
  for (const Split split : {Split::train, Split::test})
    for (const Purpose purpose : {Purpose::scene, Purpose::question})
      for (int64_t index = 0; index < 500; ++index)
        for (const int attempt : {0, 1, 255}) {
          Random random = sample_random(3, split, purpose, index, attempt);
          first_draws.insert(static_cast<uint64_t>(random.uniform() * 0x1.0p53));
          ++streams;
        }
  EXPECT_EQ(first_draws.size(), streams);
}

TEST(Scene, SizesAreMultiplesOf28WithTheStatedShares) {
  int square = 0;
  for (int64_t i = 0; i < kScenes; ++i) {
    const Scene scene = scene_at(i);
    EXPECT_EQ(scene.width % 28, 0);
    EXPECT_EQ(scene.height % 28, 0);
    square += scene.width == scene.height;
  }
  EXPECT_NEAR(square, 0.6 * kScenes, 0.1 * kScenes);
}

TEST(Scene, ObjectsLieInsideThePictureWithoutOverlap) {
  for (int64_t i = 0; i < kScenes; ++i) {
    const Scene scene = scene_at(i);
    ASSERT_GE(scene.objects.size(), 2u);
    ASSERT_LE(scene.objects.size(), 6u);
    for (size_t a = 0; a < scene.objects.size(); ++a) {
      const Box& box = scene.objects[a].box;
      EXPECT_TRUE(box.x1 >= 0 && box.y1 >= 0 && box.x2 <= scene.width && box.y2 <= scene.height) << i;
      EXPECT_TRUE(box.x1 < box.x2 && box.y1 < box.y2) << i;
      for (size_t b = 0; b < a; ++b) {
        const Box& other = scene.objects[b].box;
        EXPECT_TRUE(box.x2 <= other.x1 || other.x2 <= box.x1 || box.y2 <= other.y1 || other.y2 <= box.y1)
            << i;
      }
    }
  }
}

TEST(Scene, PlacesAreDistinctAndNoCentreIsNearABorderOfAThird) {
  for (int64_t i = 0; i < kScenes; ++i) {
    const Scene scene = scene_at(i);
    std::set<int> places;
    for (const Object& object : scene.objects) {
      places.insert(object.place);
      const double x = (object.box.x1 + object.box.x2) / 2.0 / scene.width * 3;
      const double y = (object.box.y1 + object.box.y2) / 2.0 / scene.height * 3;
      EXPECT_EQ(static_cast<int>(x), column_of(object.place)) << i;
      EXPECT_EQ(static_cast<int>(y), row_of(object.place)) << i;
      for (const int border : {1, 2}) {
        EXPECT_GE(std::abs(x - border) * scene.width / 3, kPlaceMargin - 1) << i;
        EXPECT_GE(std::abs(y - border) * scene.height / 3, kPlaceMargin - 1) << i;
      }
    }
    EXPECT_EQ(places.size(), scene.objects.size()) << i;
  }
}

// Taking one object away changes pixels inside its box only, and on each of the box's four sides.
TEST(Scene, BoxesAreTightAroundTheDrawnPixels) {
  for (int64_t i = 0; i < 60; ++i) {
    Scene scene = scene_at(i);
    scene.background = {Pattern::plain, 4, false, 1};  // a green that no object has
    const Image full = painter().paint(scene);
    const Object removed = scene.objects[static_cast<size_t>(i) % scene.objects.size()];
    std::erase_if(scene.objects, [&](const Object& object) { return object.place == removed.place; });
    const Image without = painter().paint(scene);
    Box changed = {scene.width, scene.height, 0, 0};
    for (int y = 0; y < full.height; ++y)
      for (int x = 0; x < full.width; ++x)
        if (!std::equal(pixel(full, x, y), pixel(full, x, y) + 3, pixel(without, x, y)))
          changed = {std::min(changed.x1, x), std::min(changed.y1, y), std::max(changed.x2, x + 1),
                     std::max(changed.y2, y + 1)};
    const Box& box = removed.box;
    EXPECT_THAT((std::vector{changed.x1, changed.y1, changed.x2, changed.y2}),
                testing::ElementsAre(box.x1, box.y1, box.x2, box.y2))
        << i << ' ' << removed.name();
  }
}

TEST(Scene, EveryThingShapeColourAndSignWordAppears) {
  std::set<std::string> names, texts;
  for (int64_t i = 0; i < 3000; ++i)
    for (const Object& object : scene_at(i).objects) {
      names.insert(object.name());
      if (object.kind == Kind::sign) texts.insert(object.text);
    }
  EXPECT_EQ(names.size(), kThings.size() + kShapes.size() * kColours.size() + 1);
  for (const char* word : kSignWords) EXPECT_TRUE(texts.count(word)) << word;
  EXPECT_GT(texts.size(), kSignWords.size() + 80);  // nearly all two-digit numbers
}

TEST(Painter, EveryEmojiIsDrawnInColour) {
  const Image catalog = painter().paint_catalog();
  constexpr int kCell = 72, kColumns = 6;
  for (int i = 0; i < static_cast<int>(kThings.size()); ++i) {
    int drawn = 0, black = 0;
    for (int y = 0; y < kCell; ++y)
      for (int x = 0; x < kCell; ++x) {
        const uint8_t* p = pixel(catalog, i % kColumns * kCell + x, i / kColumns * kCell + y);
        drawn += p[0] < 240 || p[1] < 240 || p[2] < 240;
        black += p[0] < 20 && p[1] < 20 && p[2] < 20;
      }
    EXPECT_GT(drawn, 150) << kThings[static_cast<size_t>(i)].name;
    EXPECT_LT(black, drawn * 0.75) << kThings[static_cast<size_t>(i)].name;
  }
}

}  // namespace
}  // namespace dvlm
