// Draws scenes with Cairo. All text and emoji are set by Pango once, at construction: drawing only copies
// and transforms those rasters.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "image/image.h"
#include "synth/scene.h"

typedef struct _cairo_surface cairo_surface_t;  // NOLINT(bugprone-reserved-identifier): its name in cairo.h

namespace dvlm {

struct PixelSize {
  int width = 0, height = 0;
};

struct SurfaceDeleter {
  void operator()(cairo_surface_t* surface) const;
};
using Surface = std::unique_ptr<cairo_surface_t, SurfaceDeleter>;

// Not for use by two threads at once: each thread makes its own (about 50 ms).
class Painter {
 public:
  // Throws Error when the colour emoji font or DejaVu Sans Bold is missing.
  Painter();

  // The size of the object's tight box, as drawn with its size and angle.
  PixelSize measure(const Object& object);

  Image paint(const Scene& scene);

  // Every noun of kThings as it is drawn, in rows of six on white: for people to look at.
  Image paint_catalog();

 private:
  // The object alone on a transparent ground, and where its visible pixels lie on it.
  struct Cutout {
    Surface surface;
    Box ink;
  };
  Cutout cut_out(const Object& object) const;

  std::vector<Surface> things_;               // in the order of kThings, longer side kSpriteSize
  std::map<std::string, Surface> sign_text_;  // words and the numbers 10 to 99
};

}  // namespace dvlm
