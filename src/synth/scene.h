// A synthetic tabletop scene: its ground truth, made deterministically from (seed, split, index).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "synth/catalog.h"

namespace dvlm {

class Painter;

enum class Split { train, test };

// The random numbers of one sample. The split is the top bit of the Philox stream, so training and test
// scenes never draw from the same counters, whatever their seeds and indices.
enum class Purpose { scene, question };
Random sample_random(uint64_t seed, Split split, Purpose purpose, int64_t index, int attempt = 0);

// Pixels of the picture; x2 and y2 are the first column and row outside.
struct Box {
  int x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

enum class Kind { thing, shape, sign };

struct Object {
  Kind kind = Kind::thing;
  int noun = 0;           // index into kThings or kShapes
  int colour = 0;         // index into kColours, shapes only
  std::string text;       // signs only
  double size = 48;       // pixels: the longer side before rotation; for signs the height of the card
  double angle = 0;       // radians
  double brightness = 1;  // factor on the colour of shapes
  int place = 0;          // 0..8 in reading order
  Box box;                // tight around the drawn pixels

  const Noun& word() const;
  std::string name() const;  // "hammer", "red square", "sign"
};

enum class Pattern { plain, wood, checkered, striped };

struct Background {
  Pattern pattern = Pattern::plain;
  int colour = 0;  // index into kTableColours (plain) or kClothColours (checkered, striped)
  bool noise = false;
  uint64_t texture = 0;  // seed of gradients, grain and offsets

  std::string phrase() const;  // "a gray table", "a wooden table", "a red checkered cloth"
};

// No two objects share a place or overlap; no centre is closer than kPlaceMargin pixels to a third's border.
struct Scene {
  int width = 224, height = 224;
  Background background;
  std::vector<Object> objects;  // in reading order of their places
};

inline constexpr int kPlaceMargin = 7;
inline constexpr int kMaxObjects = 6;

// What a set of scenes shows more or less of; the defaults are those of the tests.
struct SceneOptions {
  int max_objects = kMaxObjects;  // 1..6
  double sign_share = 0.36;       // of the scenes have a sign
};

// `attempt` gives another scene of the same index (up to 255), for questions that not every scene allows.
Scene make_scene(Painter& painter, uint64_t seed, Split split, int64_t index, int attempt = 0,
                 const SceneOptions& options = {});

}  // namespace dvlm
