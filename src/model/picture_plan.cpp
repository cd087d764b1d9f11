#include "model/picture_plan.h"

#include <utility>

#include "core/error.h"

namespace dvlm {

PicturePlan::PicturePlan(const Patches& patches, const VisionConfig& config)
    : windows_(window_index({&patches.grid, 1}, config)),
      merge_(config.spatial_merge_size),
      columns_(patches.grid.w / merge_),
      in_slice_(patches.grid.h / merge_ * columns_) {
  const Grid& grid = patches.grid;
  if (std::cmp_not_equal(patches.values.size(), grid.patches() * config.patch_elements()))
    fail("an image of {}x{}x{} patches needs {} values but got {}", grid.t, grid.h, grid.w,
         grid.patches() * config.patch_elements(), patches.values.size());
  for (int t = 0; t <= grid.t; ++t) slices_.push_back(t * grid.h * grid.w);
}

int PicturePlan::source(int row) const {
  const int cells = merge_ * merge_;
  return token(row / cells) * cells + row % cells;
}

Position PicturePlan::position(int row) const {
  const int cells = merge_ * merge_, merged = token(row / cells) % in_slice_, cell = row % cells;
  return {0, merged / columns_ * merge_ + cell / merge_, merged % columns_ * merge_ + cell % merge_};
}

}  // namespace dvlm
