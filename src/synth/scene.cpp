#include "synth/scene.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "synth/painter.h"

namespace dvlm {

namespace {

constexpr int kBorder = 3, kGap = 4;  // pixels: to the edge of the picture, between two objects
constexpr double kRepeatShare = 0.45, kShapeShare = 0.42;

int draw_count(Random& random) {
  const double u = random.uniform();
  return u < 0.12 ? 2 : u < 0.34 ? 3 : u < 0.62 ? 4 : u < 0.84 ? 5 : 6;
}

Background draw_background(Random& random) {
  Background background;
  const double u = random.uniform();
  background.pattern = u < 0.4    ? Pattern::plain
                       : u < 0.65 ? Pattern::wood
                       : u < 0.85 ? Pattern::checkered
                                  : Pattern::striped;
  const size_t colours = background.pattern == Pattern::plain ? kTableColours.size() : kClothColours.size();
  background.colour = static_cast<int>(random.below(static_cast<int64_t>(colours)));
  background.noise = random.uniform() < 0.15;
  background.texture = static_cast<uint64_t>(random.below(int64_t{1} << 40));
  return background;
}

Object draw_sign(Random& random) {
  Object sign;
  sign.kind = Kind::sign;
  sign.text = random.uniform() < 1 / 3.0 ? std::to_string(10 + random.below(90))
                                         : kSignWords[static_cast<size_t>(random.below(kSignWords.size()))];
  return sign;
}

Object draw_object(Random& random) {
  Object object;
  if (random.uniform() < kShapeShare) {
    object.kind = Kind::shape;
    object.noun = static_cast<int>(random.below(kShapes.size()));
    object.colour = static_cast<int>(random.below(kColours.size()));
  } else {
    object.noun = static_cast<int>(random.below(kThings.size()));
  }
  return object;
}

// Size and pose vary even between repeats of one thing.
void draw_pose(Object& object, Random& random) {
  object.brightness = random.between(0.92, 1.06);
  if (object.kind == Kind::sign) {
    object.size = random.between(34, 38);
    object.angle = random.between(-0.05, 0.05);
  } else if (object.kind == Kind::shape) {
    object.size = object.noun >= 2 ? random.between(42, 54) : random.between(36, 48);
    object.angle = random.between(-0.2, 0.2);
  } else {
    object.size = random.between(44, 56);
    object.angle = random.between(-0.25, 0.25);
  }
}

std::vector<Object> draw_objects(Random& random, const SceneOptions& options) {
  const int count = std::min(draw_count(random), options.max_objects);
  std::vector<Object> objects;
  if (random.uniform() < options.sign_share) objects.push_back(draw_sign(random));
  if (count >= 3 && random.uniform() < kRepeatShare) {
    const Object first = draw_object(random);
    const int copies = count >= 4 && random.uniform() < 0.4 ? 3 : 2;
    for (int i = 0; i < copies; ++i) {
      objects.push_back(first);
      if (first.kind == Kind::shape && random.uniform() < 0.4)
        objects.back().colour = static_cast<int>(random.below(kColours.size()));
    }
  }
  while (static_cast<int>(objects.size()) < count) objects.push_back(draw_object(random));
  for (Object& object : objects) draw_pose(object, random);
  random.shuffle(objects.begin(), objects.end());
  return objects;
}

// The allowed centres of one place along one axis, for an object of `extent` pixels.
struct Range {
  int low, high;
};

Range centre_range(int length, int third, int extent) {
  const int low = length * third / 3 + kPlaceMargin, high = length * (third + 1) / 3 - kPlaceMargin;
  const int half = (extent + 1) / 2;
  return {std::max(low, kBorder + half), std::min(high, length - kBorder - half)};
}

bool overlap(const Box& a, const Box& b) {
  return a.x1 < b.x2 + kGap && b.x1 < a.x2 + kGap && a.y1 < b.y2 + kGap && b.y1 < a.y2 + kGap;
}

// Puts the object at a random position of its place, away from those before it.
bool place_object(const Scene& scene, Object& object, PixelSize size, size_t before, Random& random) {
  const Range x = centre_range(scene.width, column_of(object.place), size.width);
  const Range y = centre_range(scene.height, row_of(object.place), size.height);
  if (x.low > x.high || y.low > y.high) return false;
  for (int tries = 0; tries < 30; ++tries) {
    const int x1 = x.low + static_cast<int>(random.below(x.high - x.low + 1)) - size.width / 2;
    const int y1 = y.low + static_cast<int>(random.below(y.high - y.low + 1)) - size.height / 2;
    object.box = {x1, y1, x1 + size.width, y1 + size.height};
    const bool clear = std::none_of(scene.objects.begin(), scene.objects.begin() + static_cast<int>(before),
                                    [&](const Object& other) { return overlap(other.box, object.box); });
    if (clear) return true;
  }
  return false;
}

bool lay_out(Scene& scene, const std::vector<PixelSize>& sizes, Random& random) {
  std::vector<int> places(kPlaces);
  std::iota(places.begin(), places.end(), 0);
  random.shuffle(places.begin(), places.end());
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    scene.objects[i].place = places[i];
    if (!place_object(scene, scene.objects[i], sizes[i], i, random)) return false;
  }
  return true;
}

}  // namespace

Random sample_random(uint64_t seed, Split split, Purpose purpose, int64_t index, int attempt) {
  DVLM_ASSERT(index >= 0 && index < (int64_t{1} << 48) && attempt >= 0 && attempt < 256);
  const uint64_t stream = (uint64_t{split == Split::test} << 63) |
                          (uint64_t{purpose == Purpose::question} << 62) |
                          (static_cast<uint64_t>(index) << 8) | static_cast<uint64_t>(attempt);
  return Random(seed, stream);
}

const Noun& Object::word() const {
  if (kind == Kind::sign) return kSign;
  const auto i = static_cast<size_t>(noun);
  return kind == Kind::shape ? kShapes[i] : kThings[i];
}

std::string Object::name() const {
  if (kind != Kind::shape) return word().name;
  return std::string(kColours[static_cast<size_t>(colour)].name) + " " + word().name;
}

std::string Background::phrase() const {
  if (pattern == Pattern::wood) return "a wooden table";
  const auto i = static_cast<size_t>(colour);
  if (pattern == Pattern::plain) return std::string("a ") + kTableColours[i].name + " table";
  return std::string("a ") + kClothColours[i].name +
         (pattern == Pattern::checkered ? " checkered" : " striped") + " cloth";
}

Scene make_scene(Painter& painter, uint64_t seed, Split split, int64_t index, int attempt,
                 const SceneOptions& options) {
  Random random = sample_random(seed, split, Purpose::scene, index, attempt);
  Scene scene;
  const double u = random.uniform();
  if (u >= 0.6) scene.width = u < 0.8 ? 252 : 196, scene.height = u < 0.8 ? 196 : 252;
  scene.background = draw_background(random);
  // Crowded draws may not fit: draw the objects anew, which is still a function of the stream alone.
  for (int tries = 0; tries < 1000; ++tries) {
    scene.objects = draw_objects(random, options);
    std::vector<PixelSize> sizes;
    for (const Object& object : scene.objects) sizes.push_back(painter.measure(object));
    for (int layouts = 0; layouts < 5; ++layouts) {
      if (!lay_out(scene, sizes, random)) continue;
      std::ranges::sort(scene.objects, {}, &Object::place);
      return scene;
    }
  }
  fail("no layout found for scene {} of seed {}; this is a bug of the scene generator", index, seed);
}

}  // namespace dvlm
