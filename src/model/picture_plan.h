// One picture or video in the order in which the vision tower reads it: window by window, merged token by
// merged token (docs/reference.md, Window order). It knows no device.
#pragma once
#include <vector>

#include "model/model.h"

namespace dvlm {

class PicturePlan {
 public:
  // Throws Error when the values do not fit the grid, or the grid the configuration.
  PicturePlan(const Patches& patches, const VisionConfig& config);

  int rows() const { return slices_.back(); }  // patches
  int tokens() const { return static_cast<int>(windows_.index.size()); }
  // Cumulative rows: of windows, and of temporal slices. A row sees those of its own stretch.
  const std::vector<int>& windows() const { return windows_.cumulative; }
  const std::vector<int>& slices() const { return slices_; }

  int source(int row) const;         // the patch that stands there
  Position position(int row) const;  // of that patch, inside its slice
  // The picture's token that the rows from token * patches_per_token on become.
  int token(int token) const { return windows_.index[static_cast<size_t>(token)]; }

 private:
  WindowIndex windows_;
  std::vector<int> slices_;
  int merge_ = 1, columns_ = 1,
      in_slice_ = 1;  // merged tokens: patches of a side, in a row of them, in a slice
};

}  // namespace dvlm
